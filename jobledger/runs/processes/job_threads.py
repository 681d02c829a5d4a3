"""The threads of each job, in a process that executes many jobs at a time.

Python starts a thread with an empty context, so that nothing tells whose it is. Here, a thread that a job
starts, and what it gives to a ``ThreadPoolExecutor``, are executed in a copy of the job's context, as with
Python's own option ``thread_inherit_context``: what they write is on the run, the run waits for them when its
job has returned, and their CPU time is part of its own. What they raise is on the run as well, and when they
end, their connections to the database are closed. Python has no hook for that, so two of its methods are
replaced, only in such a process. A thread of ``_thread.start_new_thread`` is not noticed.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial
from pathlib import Path
from typing import Any

from django.db import connections

TASKS = Path("/proc/self/task")

_of_job: ContextVar["JobThreads | None"] = ContextVar("threads_of_job", default=None)
_start_thread, _submit = threading.Thread.start, ThreadPoolExecutor.submit


class JobThreads:
    """The threads of one job, of which the one that creates this object is the first."""

    def __init__(self, outer: "JobThreads | None" = None) -> None:
        """``outer`` has the threads of the job that calls this one."""
        self._outer = outer
        self._lock = threading.Lock()
        self._started: set[threading.Thread] = set()
        self._clocks: dict[int, tuple[int, float]] = {}
        """The clock of each thread that is running, by its id for the kernel, and what it said at first."""
        self._ended_seconds = 0.0
        self.enter()

    @property
    def started(self) -> list[threading.Thread]:
        """Those that the job has started and that have not ended."""
        with self._lock:
            return list(self._started)

    def cpu_seconds(self) -> float:
        """The CPU time of all of them. May be called by any thread, also when they have ended."""
        with self._lock:
            clocks, seconds = list(self._clocks.values()), self._ended_seconds
        for clock, before in clocks:
            # The thread may just have ended.
            with suppress(OSError):
                seconds += time.clock_gettime(clock) - before
        return seconds

    def children(self) -> set[int]:
        """The ids of the processes that these threads have started. Only known on Linux."""
        with self._lock:
            ids = list(self._clocks)
        found = set[int]()
        for thread in ids:
            with suppress(OSError):
                found.update(map(int, (TASKS / str(thread) / "children").read_text().split()))
        return found

    def start(self, thread: threading.Thread) -> None:
        """Start the thread as one of these."""
        vars(thread)["run"] = partial(copy_context().run, self._execute, thread.run)
        self.note(thread)
        try:
            _start_thread(thread)
        except BaseException:
            self.forget(thread)
            raise

    def note(self, thread: threading.Thread) -> None:
        """A job's threads are also those of the job that has called it."""
        with self._lock:
            self._started.add(thread)
        if self._outer is not None:
            self._outer.note(thread)

    def forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._started.discard(thread)
        if self._outer is not None:
            self._outer.forget(thread)

    def enter(self) -> None:
        """The calling thread is one of these. Does nothing if it was before."""
        clock = time.pthread_getcpuclockid(threading.get_ident())
        with self._lock:
            self._clocks.setdefault(threading.get_native_id(), (clock, time.clock_gettime(clock)))
        if self._outer is not None:
            self._outer.enter()

    def leave(self) -> None:
        """The calling thread ends."""
        with self._lock:
            clock, before = self._clocks.pop(threading.get_native_id())
            self._ended_seconds += time.clock_gettime(clock) - before
        if self._outer is not None:
            self._outer.leave()

    def _execute(self, work: Callable[[], object]) -> None:
        self.enter()
        try:
            work()
        except SystemExit:
            # As in any thread of Python.
            pass
        except BaseException:  # noqa: BLE001 - what Thread would do
            # Python would print it where nothing tells whose it is.
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
        finally:
            # They have cycles: they would stay open until the garbage collector finds them.
            with suppress(Exception):
                connections.close_all()
            self.leave()
            self.forget(threading.current_thread())


def current() -> JobThreads | None:
    """The threads of the job that is executing the calling code; None if it has its process to itself."""
    return _of_job.get()


@contextmanager
def noted() -> Iterator[JobThreads]:
    """In the block, this thread executes a job."""
    threads = JobThreads(_of_job.get())
    token = _of_job.set(threads)
    try:
        yield threads
    finally:
        _of_job.reset(token)


def begin() -> None:
    """From now on, threads that jobs start, and work that they give to executors, belong to their runs."""
    setattr(threading.Thread, "start", _start)  # noqa: B010 - mypy rejects an assignment to a method
    setattr(ThreadPoolExecutor, "submit", _submitted)  # noqa: B010 - as above


def end() -> None:
    """Undo ``begin``."""
    setattr(threading.Thread, "start", _start_thread)  # noqa: B010 - as above
    setattr(ThreadPoolExecutor, "submit", _submit)  # noqa: B010 - as above


def _start(self: threading.Thread) -> None:
    threads = _of_job.get()
    if threads is None:
        _start_thread(self)
    else:
        threads.start(self)


def _submitted(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
    # An executor may be shared by jobs: its threads belong to whoever started them, its work does not.
    work = fn if _of_job.get() is None else partial(copy_context().run, fn)
    return _submit(self, work, *args, **kwargs)
