"""gunicorn's threaded worker, with a reserve for health checks, and a limit on how long a request may take to
arrive.

gunicorn has no setting for that: a client that sends half a request and then nothing more occupies a thread
for as long as it likes, and a few of them all threads, so that not even ``/healthz`` answers. gunicorn
documents that a worker's class may be replaced, but no more than that. So this module, and no other, uses the
methods with which its threaded worker loads the application, handles a request and reports that it is alive.
"""

import socket
import time
from contextlib import suppress
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from jobledger.reserve import Reserve

READ_SECONDS = 5.0


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """To be used as ``--worker-class``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """As gunicorn creates it."""
        super().__init__(*args, **kwargs)
        self._begun: dict[Any, float] = {}
        """The connections that threads are handling or will handle, and since when."""

    def load_wsgi(self) -> None:
        """Called when the worker starts."""
        super().load_wsgi()
        self.wsgi: Any = Reserve(self.wsgi, threads=self.cfg.threads)

    def enqueue_req(self, conn: Any) -> None:
        """Called by the main thread when a client has connected or sent its next request."""
        self._begun[conn] = time.monotonic()
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        """Read and answer a request. Runs in a thread."""
        try:
            return super().handle(conn)
        finally:
            self._begun.pop(conn, None)

    def notify(self) -> None:
        """Called about once a second by the main thread."""
        super().notify()
        before = time.monotonic() - READ_SECONDS
        for conn in [conn for conn, begun in self._begun.copy().items() if begun <= before]:
            # What has arrived can still be read; then comes the end of the input. Answers are still sent.
            with suppress(OSError):
                conn.sock.shutdown(socket.SHUT_RD)
