"""What probes read: one thread reads for all of them, and none waits longer than it should.

A frozen database, or one behind a network that drops packets, neither answers nor refuses, and PostgreSQL's
driver waits for as long as it takes. If each probe waited in a thread of the web server, a few probes would
occupy all threads, and a supervisor would restart a web server that works. The timeouts of connections are up
to the project; these bounds do not depend on them.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from django.db import connections

T = TypeVar("T")

REPLACED_AFTER_SECONDS = 60.0
"""A thread whose connection was lost may hang for long after the database is back: another one reads then."""
MAX_THREADS = 15
"""Linux gives a lost connection up after about a quarter of an hour."""


class NoAnswerError(Exception):
    """Nothing was read in time."""


@dataclass(frozen=True, kw_only=True)
class _Attempt(Generic[T]):
    begun_at: float
    answer: "Future[T]" = field(default_factory=Future)


class Reading(Generic[T]):
    """The result of a function that may hang, for any number of threads that ask for it at the same time."""

    def __init__(self, read: Callable[[], T], *, within_seconds: float, reused_seconds: float = 0.0) -> None:
        """``read`` is called in a thread of its own, whose database connections are closed afterwards."""
        self._read, self._within_seconds, self._reused_seconds = read, within_seconds, reused_seconds
        self._lock = threading.Lock()
        self._attempts: list[_Attempt[T]] = []
        """Those under way, and the newest."""

    def get(self) -> T:
        """What was read, by the thread that reads already if there is one; raises what that raised.

        Raises NoAnswerError if there is no answer in time, counted from when the thread began: so while one
        hangs, nobody else waits.
        """
        attempt = self._current()
        left = attempt.begun_at + self._within_seconds - time.monotonic()
        if not wait([attempt.answer], timeout=max(left, 0)).done:
            raise NoAnswerError(f"no answer within {self._within_seconds:g} s")
        return attempt.answer.result()

    def _current(self) -> _Attempt[T]:
        with self._lock:
            if not self._attempts or self._is_outdated(self._attempts[-1]):
                under_way = [each for each in self._attempts if not each.answer.done()]
                self._attempts = [*under_way, _Attempt(begun_at=time.monotonic())]
                _in_thread(self._attempts[-1].answer, self._read)
            return self._attempts[-1]

    def _is_outdated(self, attempt: _Attempt[T]) -> bool:
        age = time.monotonic() - attempt.begun_at
        if attempt.answer.done():
            return age > self._reused_seconds
        return age > REPLACED_AFTER_SECONDS and len(self._attempts) < MAX_THREADS


def _in_thread(answer: "Future[T]", read: Callable[[], T]) -> None:
    threading.Thread(target=_read_and_close, args=[answer, read], name="reading", daemon=True).start()


def _read_and_close(answer: "Future[T]", read: Callable[[], T]) -> None:
    try:
        answer_with(answer, read)
    finally:
        connections.close_all()


def answer_with(answer: "Future[T]", read: Callable[[], T]) -> None:
    """Read, whatever comes of it."""
    try:
        answer.set_result(read())
    except BaseException as error:  # noqa: BLE001 - raised again in all threads that wait for the answer
        answer.set_exception(error)
