"""Enforces a run's memory limit: what the job's process and its subprocesses may use at a time.

What the process already uses when the run starts is not counted, so it does not matter which runs were before
it in the same process. Memory that earlier runs have freed is first returned to the system.

Samples are taken so often that a job is caught while it allocates, and only for jobs that have a limit. What
a single call of C code allocates while it keeps the interpreter's lock is noticed when it returns. A job that
exceeds its limit is interrupted; one that nevertheless uses twice as much is killed at once.
"""

import threading
from uuid import UUID

from jobledger.models import Reason, Status, Why
from jobledger.runs.lease.interrupts import JobInterrupt
from jobledger.runs.lease.termination import Termination
from jobledger.runs.processes import resources

SAMPLE_SECONDS = 0.02
KILL_FACTOR = 2


class MemoryLimitExceeded(JobInterrupt):
    """The run used more memory than its job allows."""

    status = Status.FAILED
    exit_code = 137  # as containers exit


class MemoryWatch:
    """Compares the memory in use with the limit, from ``start`` to ``stop``."""

    def __init__(
        self, run_id: UUID, limit_bytes: int, termination: Termination, meter: resources.Meter
    ) -> None:
        self._run_id = run_id
        self._limit_bytes = limit_bytes
        self._termination = termination
        self._meter = meter
        self._used_before = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"memory of {run_id}", daemon=True)

    def start(self) -> None:
        resources.trim()
        self._used_before = resources.memory_in_use()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> None:
        """Take one sample, and act on it."""
        # What exceeds the limit is part of the peak as well.
        used = self._meter.sample() - self._used_before
        if used <= self._limit_bytes:
            return
        why = Why.of(Reason.MEMORY_LIMIT, limit_bytes=self._limit_bytes, used_bytes=used)
        self._termination.begin(MemoryLimitExceeded(why, run_id=self._run_id))
        if used > KILL_FACTOR * self._limit_bytes:
            self._termination.end_grace()

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self.look()
