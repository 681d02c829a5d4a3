"""Keeps threads of a web server free for its health checks, whatever becomes of all other requests.

A database that is frozen neither answers nor refuses, and no timeout of PostgreSQL's applies: those of
statements are up to the server, and TCP's does not run out while its machine still answers. So a few requests
for pages could occupy all threads, and a supervisor that asks ``/livez`` would restart a web server that
works. With a reserve, requests that would need its threads wait for a moment, and then get status 503.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from django.urls import Resolver404, resolve

PROBES = ("livez", "healthz", "readyz")
"""The last parts of their addresses, wherever a project has them.

Each of them is answered within three seconds, come what may.
"""
RESERVED_THREADS = 2
WAIT_SECONDS = 1.0
"""For another request to end, which usually takes much less."""
STUCK_AFTER_SECONDS = 3.0
"""If all others have taken longer, they are not waited for."""
RETRY_AFTER_SECONDS = 10
BUSY = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Busy</title></head>
<body><h1>No page can be displayed right now</h1>
<p>Other requests have been waiting for the database. Nothing was saved. Try again in a few seconds.</p>
</body></html>
"""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Reserve:
    """A WSGI application around another one, for a server with this number of threads in each process."""

    def __init__(self, application: Application, *, threads: int) -> None:
        self._application = application
        self._limit = max(threads - RESERVED_THREADS, 1)
        self._begun: dict[int, float] = {}
        """The threads that are executing requests, and since when, in monotonic time."""
        self._changed = threading.Condition()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer the request, now or never."""
        if _is_probe(environ):
            return self._application(environ, start_response)
        if not self._begin():
            return _unavailable(environ, start_response)
        end = partial(self._end, threading.get_ident())
        try:
            answer = self._application(environ, start_response)
        except BaseException:
            end()
            raise
        # A response of Django's that is read from the database, and sent, after this method has returned.
        if getattr(answer, "streaming", False):
            return _Streamed(answer, end)
        end()
        return answer

    def _begin(self) -> bool:
        with self._changed:
            if not self._changed.wait_for(self._is_free, timeout=0 if self._is_stuck() else WAIT_SECONDS):
                return False
            self._begun[threading.get_ident()] = time.monotonic()
            return True

    def _end(self, thread: int) -> None:
        with self._changed:
            self._begun.pop(thread, None)
            self._changed.notify()

    def _is_free(self) -> bool:
        return len(self._begun) < self._limit

    def _is_stuck(self) -> bool:
        return max(self._begun.values(), default=0.0) < time.monotonic() - STUCK_AFTER_SECONDS


class _Streamed:
    """An answer whose request ends once it was sent: the server then closes it."""

    def __init__(self, answer: Any, end: Callable[[], None]) -> None:
        self._answer, self._end = answer, end

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._answer)

    def close(self) -> None:
        try:
            self._answer.close()
        finally:
            self._end()


def _is_probe(environ: dict[str, Any]) -> bool:
    """Whether a health check is asked for, and not another page whose address ends like that of one.

    That might wait for the database, so that any visitor could occupy the reserve.
    """
    address = str(environ.get("PATH_INFO", ""))
    if address.rpartition("/")[2] not in PROBES:
        return False
    # Not before Django is set up, and a server imports this module earlier.
    from jobledger import views

    try:
        return resolve(address).func in (views.alive, views.liveness, views.ready)
    except Resolver404:
        return False


def _unavailable(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(BUSY))}
    more = {"Retry-After": str(RETRY_AFTER_SECONDS), "Cache-Control": "no-store"}
    start_response("503 Service Unavailable", list({**headers, **more}.items()))
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [BUSY]
