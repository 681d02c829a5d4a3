"""Interrupts a job by raising an exception in the thread that executes it.

In the main thread, a signal handler raises it, which also interrupts blocking system calls; in any other
thread, it is raised the next time that Python code runs there. What a PostgreSQL server is executing for the
thread is cancelled. The exception is not a subclass of ``Exception``, so a job's ``except Exception`` does
not catch it, while its ``finally`` blocks run.

While a thread waits for a coroutine, the coroutine is cancelled instead (``delivered_by``), wherever it
waits, and no statement is.
"""

import _thread
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import Any
from uuid import UUID

from jobledger.models import Status, Why
from jobledger.runs import reasons
from jobledger.runs.lease import statements
from jobledger.runs.processes import forks
from jobledger.runs.processes.os_internals import set_handler

SIGNAL = signal.SIGUSR2
STUCK_SECONDS = 0.5
"""If no Python code has run in a thread for so long, it waits for something. Less than ``AGAIN_SECONDS``."""


class JobInterrupt(BaseException):
    """Ends a run. ``status`` is the run's final state."""

    status = Status.CANCELLED
    exit_code = 130

    def __init__(self, why: Why, *, run_id: UUID) -> None:
        """``why`` is the reason on the run's row; ``run_id`` is the run to end."""
        super().__init__()
        self.why, self.run_id = why, run_id

    def __str__(self) -> str:
        return reasons.explained(self.status, self.why)


class JobCancelled(JobInterrupt):
    """The run was cancelled."""


class JobTimedOut(JobInterrupt):
    """The run exceeded its time limit."""

    status = Status.TIMED_OUT
    exit_code = 124  # as timeout(1) exits


class LeaseLost(JobInterrupt):
    """The run was marked as lost, and may be running elsewhere: it no longer belongs to this process."""

    status = Status.LOST
    exit_code = 75


class Interrupter:
    """Raises exceptions in the thread that created it, as long as it is armed."""

    def __init__(self) -> None:
        self.thread_id = threading.get_ident()
        self._is_main = threading.current_thread() is threading.main_thread()
        self._armed = True
        self._lock = threading.Lock()
        self._deliver: Callable[[JobInterrupt], object] | None = None
        # The main thread looks up what it has used by then: to load the drivers of all databases takes time.
        self._databases = () if self._is_main else statements.all_of_this_thread()

    def interrupt(self, interrupt: JobInterrupt) -> None:
        """Raise it in the thread, unless the job has finished."""
        with self._lock:
            if not self._armed:
                return
            if self._is_main:
                _pending.append((self, interrupt))
                signal.pthread_kill(self.thread_id, SIGNAL)
            elif self._deliver is not None:
                self._deliver(interrupt)
            else:
                is_raised = _raise_in_thread(self.thread_id, interrupt)
                _in_new_thread(self._cancel_statements_unless, is_raised)

    def _cancel_statements_unless(self, is_raised: threading.Event) -> None:
        """Cancel those of a thread in which no Python code runs, because it waits for them.

        If the interrupt has been raised, the thread may be executing others, to clean up.
        """
        if not is_raised.wait(STUCK_SECONDS) and self._armed:
            statements.cancel(statements.requests_for(self._databases))

    def resend(self) -> None:
        """Try again if it could not be raised because the thread was forking."""
        with self._lock:
            if self._armed and any(interrupter is self for interrupter, _ in _pending):
                signal.pthread_kill(self.thread_id, SIGNAL)

    def disarm(self) -> None:
        """Raise nothing more. If an interrupt is being raised right now, it is raised before this returns."""
        # Before acquiring the lock: a signal may arrive while it is held.
        self._armed = False
        with self._lock:
            pass

    @contextmanager
    def delivered_by(self, deliver: Callable[[JobInterrupt], object]) -> Iterator[None]:
        """In the block, which this thread executes, have ``deliver`` see to the end of the job.

        In the main thread, which signals interrupt, do nothing else. What ``deliver`` raises is lost.
        """
        with self._lock:
            before, self._deliver = self._deliver, deliver
        try:
            yield
        finally:
            with self._lock:
                self._deliver = before

    @property
    def is_armed(self) -> bool:
        """Whether the job can still be interrupted."""
        return self._armed


_pending: list[tuple[Interrupter, JobInterrupt]] = []
_interrupter: ContextVar[Interrupter | None] = ContextVar("interrupter", default=None)
# They belong to the parent's run.
os.register_at_fork(after_in_child=_pending.clear)


@contextmanager
def interruptible() -> Iterator[Interrupter]:
    """An interrupter for the current thread, armed until the end of the block."""
    interrupter = Interrupter()
    previous = set_handler(SIGNAL, _raise_pending) if _is_main() else None
    token = _interrupter.set(interrupter)
    try:
        yield interrupter
    finally:
        interrupter.disarm()
        _interrupter.reset(token)
        if _is_main():
            set_handler(SIGNAL, previous)


def of_this_thread() -> Interrupter | None:
    """What interrupts the job that this thread executes."""
    found = _interrupter.get()
    # The threads of a job have its context.
    return found if found is not None and found.thread_id == threading.get_ident() else None


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _raise_pending(signum: int, frame: FrameType | None) -> None:
    while _pending and not forks.is_under_way():
        interrupter, interrupt = first = _pending[0]
        if interrupter.is_armed:
            _cancel_statements(frame)
        # Not before: another signal may have called this function meanwhile.
        with suppress(ValueError):
            _pending.remove(first)
        if interrupter.is_armed:
            raise interrupt


def _cancel_statements(frame: FrameType | None) -> None:
    """Cancel those that this thread waits for there. Takes no time: another thread sends the requests."""
    if statements.is_plain_query(frame):
        requests = statements.requests_for(statements.used_by_this_thread())
        _in_new_thread(statements.cancel, requests)


def _in_new_thread(function: Callable[[Any], None], argument: Any) -> None:
    """Not by `threading`, whose own locks this thread may hold. If there is no thread left, do nothing."""
    with suppress(RuntimeError):
        _thread.start_new_thread(function, (argument,))


def _raise_in_thread(thread_id: int, interrupt: JobInterrupt) -> threading.Event:
    """Returns what is set once it is raised. Python accepts only a class here: create one with the reason."""
    why, run_id, is_raised = interrupt.why, interrupt.run_id, threading.Event()

    def init(self: JobInterrupt) -> None:
        JobInterrupt.__init__(self, why, run_id=run_id)
        is_raised.set()

    kind = type(type(interrupt).__name__, (type(interrupt),), {"__init__": init})
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(kind))
    return is_raised
