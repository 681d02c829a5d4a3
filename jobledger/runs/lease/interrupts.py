"""Interrupts a job from outside, by raising an exception in the thread that executes it.

In the main thread a signal raises it, which also interrupts a blocking system call; in any other thread it is
raised as soon as Python code runs there. It is not an ``Exception``: a job's ``except Exception`` does not
catch it, and its ``finally`` runs.
"""

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from uuid import UUID

from jobledger.models import Status, Why
from jobledger.runs import reasons
from jobledger.runs.execution import forks

SIGNAL = signal.SIGUSR2


class JobInterrupt(BaseException):
    """Ends a run. ``status`` is the state the run ends in."""

    status = Status.CANCELLED
    exit_code = 130

    def __init__(self, why: Why, *, run_id: UUID) -> None:
        """``why`` is what the run's row says of its end; ``run_id`` the run that is to end."""
        super().__init__()
        self.why, self.run_id = why, run_id

    def __str__(self) -> str:
        return reasons.explained(self.status, self.why)


class JobCancelled(JobInterrupt):
    """Somebody asked for the end."""


class JobTimedOut(JobInterrupt):
    """The run took longer than its time limit."""

    status = Status.TIMED_OUT
    exit_code = 124  # as timeout(1) exits


class LeaseLost(JobInterrupt):
    """The run was taken for lost, and may be going on elsewhere: this process has no right to it any more."""

    status = Status.LOST
    exit_code = 75


class Interrupter:
    """Raises in one thread, as long as it is armed."""

    def __init__(self) -> None:
        """For the thread that makes it."""
        self._thread_id = threading.get_ident()
        self._is_main = threading.current_thread() is threading.main_thread()
        self._armed = True
        self._lock = threading.Lock()

    def interrupt(self, interrupt: JobInterrupt) -> None:
        """Raise it in the thread, unless the job has ended meanwhile."""
        with self._lock:
            if not self._armed:
                return
            if self._is_main:
                _pending.append((self, interrupt))
                signal.pthread_kill(self._thread_id, SIGNAL)
            else:
                _raise_in_thread(self._thread_id, interrupt)

    def remind(self) -> None:
        """Once more, where it could not be raised because the thread was forking."""
        with self._lock:
            if self._armed and any(interrupter is self for interrupter, _ in _pending):
                signal.pthread_kill(self._thread_id, SIGNAL)

    def disarm(self) -> None:
        """From now on nothing is raised any more; what is just being raised is, before this returns."""
        # Before taking the lock: a signal may arrive while it is held.
        self._armed = False
        with self._lock:
            pass

    @property
    def is_armed(self) -> bool:
        """Whether the job can still be interrupted."""
        return self._armed


_pending: list[tuple[Interrupter, JobInterrupt]] = []
# They are for the parent's run.
os.register_at_fork(after_in_child=_pending.clear)


@contextmanager
def interruptible() -> Iterator[Interrupter]:
    """An interrupter for this thread and block."""
    interrupter = Interrupter()
    previous = signal.signal(SIGNAL, _raise_pending) if _is_main() else None
    try:
        yield interrupter
    finally:
        interrupter.disarm()
        if _is_main():
            signal.signal(SIGNAL, previous)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()


def _raise_pending(signum: int, frame: FrameType | None) -> None:
    while _pending and not forks.is_under_way():
        interrupter, interrupt = _pending.pop(0)
        if interrupter.is_armed:
            raise interrupt


def _raise_in_thread(thread_id: int, interrupt: JobInterrupt) -> None:
    """Python takes a class only; the reason is put into one made for it."""
    why, run_id = interrupt.why, interrupt.run_id

    def init(self: JobInterrupt) -> None:
        JobInterrupt.__init__(self, why, run_id=run_id)

    kind = type(type(interrupt).__name__, (type(interrupt),), {"__init__": init})
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread_id), ctypes.py_object(kind))
