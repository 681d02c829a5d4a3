"""Terminates a job: raises an exception in it and, after a grace period, kills its process.

The processes that the job has started are treated likewise: asked to end at first, and killed with it.

The timer is a thread that does not use the database, so an unresponsive database delays neither the time
limit nor the kill. A few seconds before the kill are reserved for recording it.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

from jobledger.runs.execution.process_tree import ProcessTree
from jobledger.runs.lease.interrupts import Interrupter, JobInterrupt, JobTimedOut
from jobledger.runs.limits import Limits

# If recording takes longer, it is left to the process that notices the death of this one.
RECORD_KILL_SECONDS = 5.0
RESEND_SECONDS = 0.2


class Termination:
    """Terminates a run's job at its time limit, or on request."""

    def __init__(
        self,
        run_id: UUID,
        interrupter: Interrupter,
        tree: ProcessTree,
        limits: Limits,
        record_kill: Callable[[JobInterrupt], None],
    ) -> None:
        """The time limit counts from now."""
        self._run_id = run_id
        self._interrupter = interrupter
        self._tree = tree
        self._limits = limits
        self._record_kill = record_kill
        self._ends_at = _from_now(limits.time_limit)
        self._interrupt: JobInterrupt | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the timer if there is a time limit."""
        if self._ends_at is not None:
            self._start_thread()

    def stop(self) -> None:
        """Stop the timer, because the job has finished. If its process is being killed, wait for that."""
        self._stopped.set()
        self._changed.set()
        # One that could not be started has no identifier.
        if self._thread is not None and self._thread.ident is not None:
            self._thread.join()

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
        self._changed.set()
        # Not the same object, whose traceback would keep the memory of the job's frames.
        self._interrupter.interrupt(type(interrupt)(interrupt.why, run_id=interrupt.run_id))
        # After the interrupt, which is thus what the job notices first.
        self._tree.terminate()

    def end_grace(self) -> None:
        """Kill the process of an interrupted job now."""
        with self._lock:
            if self._interrupt is not None:
                self._ends_at = time.monotonic()
        self._changed.set()

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run_timer, name=f"timer of {self._run_id}", daemon=True
            )
            self._thread.start()

    def _run_timer(self) -> None:
        while not self._stopped.is_set():
            self._changed.wait(self._seconds_to_wait())
            self._changed.clear()
            self._interrupter.resend()
            if self._stopped.is_set() or self._seconds_left() > 0:
                continue
            if self._interrupt is not None:
                self._kill(self._interrupt)
                return
            self.begin(JobTimedOut(self._limits.exceeded(), run_id=self._run_id))

    def _seconds_to_wait(self) -> float:
        return min(self._seconds_left(), RESEND_SECONDS) if self.has_begun else self._seconds_left()

    def _seconds_left(self) -> float:
        with self._lock:
            return 0.0 if self._ends_at is None else max(0.0, self._ends_at - time.monotonic())

    def _kill(self, interrupt: JobInterrupt) -> None:
        recording = threading.Thread(target=self._record_kill, args=[interrupt], daemon=True)
        recording.start()
        recording.join(RECORD_KILL_SECONDS)
        self._tree.kill()
        os.kill(os.getpid(), signal.SIGKILL)


def _from_now(length: timedelta | None) -> float | None:
    return None if length is None else time.monotonic() + length.total_seconds()
