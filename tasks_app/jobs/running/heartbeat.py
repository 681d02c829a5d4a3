"""The heartbeat of one run: a thread that renews the lease, and carries what goes with it.

Every few seconds, on a connection of its own and so outside any transaction of the job, it writes what the
job has printed, and in one small statement ``heartbeat_at`` and the progress. That statement also asks
whether the run is still this process's and nobody wants it cancelled; only when it finds no row is the row
read. It keeps the time limit too: softly by an exception in the job, after the grace by killing the process.

A database that does not answer is tried again at the next beat.
"""

import logging
import os
import signal
import threading
import time
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections
from django.db.models import QuerySet
from django.utils import timezone

from tasks_app.jobs.models import Run, Status
from tasks_app.jobs.running import attempts, output
from tasks_app.jobs.running.interrupts import Interrupter, JobCancelled, JobInterrupt, JobTimedOut, LeaseLost
from tasks_app.jobs.running.outcome import Outcome

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Progress:
    """How far a job has come; written by the job, read by the heartbeat."""

    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a run may take, and how long its cleanup after that."""

    time_limit: timedelta | None
    grace: timedelta


class OutputLog:
    """The output of one attempt on its way to the database, in the order of writing."""

    def __init__(self, run: Run, recorder: output.OutputRecorder) -> None:
        """Nothing is written yet."""
        self._run = run
        self._recorder = recorder
        self._next_number = 0
        self._unsaved: list[output.Piece] = []
        self._lock = threading.Lock()

    def save_new(self) -> None:
        """Write what came since the last time. What could not be written is kept for the next time."""
        self._save(self._recorder.drain())

    def save_rest(self) -> None:
        """Write all that is left at the end."""
        self._save(self._recorder.finish())

    def _save(self, pieces: list[output.Piece]) -> None:
        with self._lock:
            self._unsaved += pieces
            if self._unsaved:
                run = self._run
                self._next_number = output.save(run.pk, run.attempt, self._next_number, self._unsaved)
                self._unsaved = []


class Heartbeat:
    """Beats while its block runs."""

    def __init__(self, run: Run, log: OutputLog, interrupter: Interrupter, limits: Limits) -> None:
        """Does not beat yet."""
        self.progress = Progress()
        self._run = run
        self._log = log
        self._interrupter = interrupter
        self._grace = limits.grace
        self._ends_at = _from_now(limits.time_limit)
        self._killed_at: float | None = None
        self._interrupt: JobInterrupt | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run_until_stopped, name=f"heartbeat of {run}", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the beat that is under way."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def save_progress(self) -> None:
        """Write the last figures of a job that counted."""
        if self.progress.done is not None:
            self._mine().update(progress_done=self.progress.done, progress_total=self.progress.total)

    def beat(self) -> None:
        """Write what there is to write, and look whether something ends the run."""
        self._log.save_new()
        self._renew()
        self._keep_time_limit()

    def _run_until_stopped(self) -> None:
        try:
            while not self._stopped.wait(self._seconds_to_wait()):
                try:
                    self.beat()
                except (DatabaseError, InterfaceError) as error:
                    logger.debug("The heartbeat of run %s was not written: %s", self._run.pk, error)
                    connections.close_all()
                    self._keep_time_limit()
        finally:
            connections.close_all()

    def _seconds_to_wait(self) -> float:
        now = time.monotonic()
        ends = [end - now for end in (self._ends_at, self._killed_at) if end is not None]
        return max(0.0, min([float(settings.HEARTBEAT_SECONDS), *ends]))

    def _renew(self) -> None:
        mine = self._mine()
        wanted = mine if self._interrupt else mine.filter(cancel_requested_at=None)
        beat = wanted.update(
            heartbeat_at=timezone.now(), progress_done=self.progress.done, progress_total=self.progress.total
        )
        if not beat and not self._interrupt:
            cancelled_by = mine.values_list("cancelled_by", flat=True).first()
            self._end(self._cancelled(cancelled_by))

    def _mine(self) -> QuerySet[Run]:
        """The run, as long as it is this process's."""
        return Run.objects.filter(pk=self._run.pk, status=Status.RUNNING, attempt=self._run.attempt)

    def _cancelled(self, cancelled_by: str | None) -> JobInterrupt:
        if cancelled_by is None:
            return LeaseLost("The run was taken for lost meanwhile.", run_id=self._run.pk)
        return JobCancelled(f"Cancelled by {cancelled_by}.", run_id=self._run.pk)

    def _keep_time_limit(self) -> None:
        now = time.monotonic()
        if self._ends_at is not None and now >= self._ends_at:
            self._ends_at = None
            self._end(JobTimedOut("The run took longer than its time limit.", run_id=self._run.pk))
        if self._killed_at is not None and now >= self._killed_at:
            self._kill()

    def _end(self, interrupt: JobInterrupt) -> None:
        if self._interrupt is None:
            self._interrupt = interrupt
            self._killed_at = _from_now(self._grace)
            self._interrupter.interrupt(interrupt)

    def _kill(self) -> None:
        """The job did not end when it was asked to: record that, and end its process."""
        interrupt = self._interrupt
        if interrupt is None or self._stopped.is_set():
            return
        try:
            self._log.save_new()
            error = f"{interrupt} It did not end when asked to and was killed."
            outcome = Outcome(status=interrupt.status, exit_code=interrupt.exit_code, error=error)
            attempts.end(self._run, outcome)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)


def _from_now(length: timedelta | None) -> float | None:
    return None if length is None else time.monotonic() + length.total_seconds()
