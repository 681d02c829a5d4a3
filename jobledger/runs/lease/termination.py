"""Terminates a job: raises an exception in it and, after a grace period, kills its process.

The processes that the job has started are treated likewise: asked to end at first, and killed with it.

Where other jobs share the process (``shared_process``), it cannot be killed, and neither can a thread. A job
that has not ended after its grace period is then *overdue*: its processes are killed, the exception is raised
again and again, and its run goes on, because nothing else may take its place, until the thread ends after
all. A worker that is to end does so once all runs that are left are overdue. One thread is the timer of all
jobs.

The timer is a thread that does not use the database, so an unresponsive database delays neither the time
limit nor the kill. A few seconds before the kill are reserved for recording it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from jobledger.runs.lease.interrupts import Interrupter, JobInterrupt, JobTimedOut
from jobledger.runs.limits import Limits
from jobledger.runs.processes import shared_process
from jobledger.runs.processes.process_tree import ProcessTree
from jobledger.runs.processes.rounds import Rounds

# If recording takes longer, it is left to the process that notices the death of this one.
RECORD_KILL_SECONDS = 5.0
RESEND_SECONDS = 0.2
AGAIN_SECONDS = 1.0
"""After how many seconds an exception is raised again in a thread that has not ended in time."""
NEVER_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What to do for a job that has not ended in time."""

    kill: Callable[[JobInterrupt], None]
    """Record its end, just before its process is killed."""
    overdue: Callable[[JobInterrupt], None]
    """Tell that it goes on, since its process cannot be killed."""


class Termination:
    """Terminates a run's job at its time limit, or on request."""

    def __init__(
        self,
        run_id: UUID,
        interrupter: Interrupter,
        tree: ProcessTree,
        limits: Limits,
        recording: Recording,
    ) -> None:
        """The time limit counts from now."""
        self.run_id = run_id
        self._interrupter = interrupter
        self._tree = tree
        self._limits = limits
        self._recording = recording
        self._ends_at = _from_now(limits.time_limit)
        self._interrupt: JobInterrupt | None = None
        self.is_overdue = False
        """Whether it goes on although its grace period is over, because its process cannot be killed."""
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_timed = False

    def start(self) -> None:
        """Start the timer if there is a time limit. That of all jobs in threads knows all of them."""
        if self._ends_at is not None or shared_process.is_shared():
            self._start_thread()

    def stop(self) -> None:
        """Stop the timer, because the job has finished. If its process is being killed, wait for that."""
        self._stopped.set()
        self._changed.set()
        TIMERS.remove(self)
        # One that could not be started has no identifier.
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()

    @property
    def thread_id(self) -> int:
        """Of the job's thread."""
        return self._interrupter.thread_id

    @property
    def has_begun(self) -> bool:
        """Whether the job has been interrupted."""
        return self._interrupt is not None

    def begin(self, interrupt: JobInterrupt) -> None:
        """Interrupt the job, and kill its process after the grace period. Only the first call counts."""
        with self._lock:
            if self._interrupt is not None or self._stopped.is_set():
                return
            self._interrupt = interrupt
            self._ends_at = _from_now(self._limits.grace)
        self._start_thread()
        self._wake()
        # Not the same object, whose traceback would keep the memory of the job's frames.
        self._interrupter.interrupt(type(interrupt)(interrupt.why, run_id=interrupt.run_id))
        # After the interrupt, which is thus what the job notices first.
        self._tree.terminate()

    def end_grace(self) -> None:
        """Kill the process of an interrupted job now."""
        with self._lock:
            if self._interrupt is not None:
                self._ends_at = time.monotonic()
        self._wake()

    def record_kill(self) -> None:
        """Record the end of an overdue job, whose process is about to end. Takes a few seconds at most."""
        if self._interrupt is not None:
            recording = threading.Thread(target=self._recording.kill, args=[self._interrupt], daemon=True)
            recording.start()
            recording.join(RECORD_KILL_SECONDS)
        self._tree.kill()

    def look(self) -> float:
        """Do what is due; returns in how many seconds the next thing is."""
        if self._stopped.is_set():
            # It may have been added after `stop` had removed it.
            TIMERS.remove(self)
            return NEVER_SECONDS
        self._interrupter.resend()
        if self._ends_at is None:
            return NEVER_SECONDS
        if self._seconds_left() <= 0:
            if self._interrupt is None:
                self.begin(JobTimedOut(self._limits.exceeded(), run_id=self.run_id))
            else:
                self._interrupt_again(self._interrupt)
        return self._seconds_to_wait()

    def _wake(self) -> None:
        self._changed.set()
        TIMERS.look_now(self)

    def _start_thread(self) -> None:
        if shared_process.is_shared():
            if not self._is_timed:
                self._is_timed = True
                TIMERS.add(self)
        elif self._thread is None:
            self._thread = threading.Thread(
                target=self._run_timer, name=f"timer of {self.run_id}", daemon=True
            )
            self._thread.start()

    def _run_timer(self) -> None:
        while not self._stopped.is_set():
            self._changed.wait(self._seconds_to_wait())
            self._changed.clear()
            if self.has_begun and not self._stopped.is_set() and self._seconds_left() <= 0:
                self.record_kill()
                os.kill(os.getpid(), signal.SIGKILL)
                return
            self.look()

    def _seconds_to_wait(self) -> float:
        return min(self._seconds_left(), RESEND_SECONDS) if self.has_begun else self._seconds_left()

    def _seconds_left(self) -> float:
        with self._lock:
            return 0.0 if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def _interrupt_again(self, interrupt: JobInterrupt) -> None:
        """The job's grace period is over, and its thread cannot be killed."""
        self._tree.kill()
        if not self.is_overdue:
            self.is_overdue = True
            self._recording.overdue(interrupt)
        with self._lock:
            self._ends_at = time.monotonic() + AGAIN_SECONDS
        self._interrupter.interrupt(type(interrupt)(interrupt.why, run_id=interrupt.run_id))


TIMERS = Rounds[Termination]("time limits")
"""Of the jobs that are executed in threads."""


def _from_now(length: timedelta | None) -> float | None:
    return None if length is None else time.monotonic() + length.total_seconds()
