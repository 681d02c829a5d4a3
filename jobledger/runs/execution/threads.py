"""The threads of a job, and its multiprocessing: its run waits for them, as a process does when it exits."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jobledger.runs.lease.interrupts import JobInterrupt
from jobledger.runs.outcome import SignalExit
from jobledger.runs.processes import job_threads
from jobledger.runs.processes.leftovers import Leftover
from jobledger.runs.processes.multiprocessing_internals import (
    END_OF_POOLS,
    children_to_wait_for,
    is_idle,
)

THREAD_END_SECONDS = 0.5
THREAD_LOOK_SECONDS = 0.01


class Threads:
    """The threads that the current job starts, or gives work to."""

    def __init__(self, *, others: Sequence[threading.Thread] = ()) -> None:
        """Those that are busy already are not the job's; an idle one may be given work by it.

        Nor are ``others``, to which more may be added before they start.
        """
        self._pid = os.getpid()
        self._own = job_threads.current()
        self._before, self._others = {each for each in self._all() if not is_idle(each)}, others

    def _all(self) -> list[threading.Thread]:
        """Where other jobs share the process, only those of this one."""
        return threading.enumerate() if self._own is None else self._own.started

    def _new(self) -> list[threading.Thread]:
        return [each for each in self._all() if each not in self._before and each not in self._others]

    @contextmanager
    def awaited(self) -> Iterator[None]:
        """After the block, wait as a process's exit does: for all but daemon threads, then for processes.

        Those of a job that was interrupted or ended by a signal are not waited for. An executor's threads
        have ended their work if they are idle: the executor is not shut down, since a library may use it
        again in the next job.
        """
        try:
            yield
        except (JobInterrupt, SignalExit):
            raise
        except BaseException:
            self._wait()
            raise
        self._wait()

    def _wait(self) -> None:
        self._wait_for_threads()
        self._wait_for_processes()

    def _wait_for_processes(self) -> None:
        """For those of ``multiprocessing.Process``."""
        # In a process that the job has forked, or in another thread, they are not the job's.
        is_own = os.getpid() == self._pid and threading.current_thread() is threading.main_thread()
        while is_own and (started := children_to_wait_for()):
            started[0].join()

    def _wait_for_threads(self) -> None:
        were_idle = False
        while started := self._to_wait_for():
            are_idle = all(map(is_idle, started))
            # Twice: between two pieces of work, a thread may look idle.
            if are_idle and were_idle:
                return
            were_idle = are_idle
            # Not `join`, since a new thread may be started, and an executor's does not end.
            time.sleep(THREAD_LOOK_SECONDS)

    def _to_wait_for(self) -> list[threading.Thread]:
        # In any other thread, such as a web server's, those that are started meanwhile need not be the job's.
        if self._own is None and threading.current_thread() is not threading.main_thread():
            return []
        return [each for each in self._new() if not each.daemon]

    def left(self) -> list[Leftover]:
        """The job's threads that are still running. One that is about to end may do so."""
        started = [
            each
            for each in self._new()
            # Python's name for a thread that it did not start, which never ends for it.
            if not each.name.startswith(("Dummy-", END_OF_POOLS)) and not is_idle(each)
        ]
        deadline = time.monotonic() + THREAD_END_SECONDS
        for thread in started:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [Leftover(name=each.name) for each in started if each.is_alive() and not is_idle(each)]
