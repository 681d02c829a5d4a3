"""The heartbeat of one run: a thread that renews the lease, and carries what goes with it.

On a connection of its own, and so outside any transaction of the job, it writes every second what the job has
printed, if anything, and every few seconds in one small statement ``heartbeat_at`` and the progress. That
statement also asks whether the run is still this process's and nobody wants it cancelled; only when it finds
no row is the row read. How a job is then ended, and that it keeps its time limit, is the part of ``ending``.

A database that does not answer is tried again at the next beat.
"""

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from django.conf import settings
from django.db import Error, connections
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobledger.escapes import line_logger
from jobledger.models import Reason, Run, Status, Why
from jobledger.runs import attempts
from jobledger.runs.execution import output
from jobledger.runs.execution.forks import between_forks
from jobledger.runs.lease.ending import Ending, Limits
from jobledger.runs.lease.interrupts import Interrupter, JobCancelled, JobInterrupt, LeaseLost
from jobledger.runs.outcome import Outcome

# Whoever follows a run sees within two seconds what it has written.
OUTPUT_SECONDS = 1.0

logger = line_logger(__name__)


@dataclass(kw_only=True)
class Progress:
    """How far a job has come; written by the job, read by the heartbeat."""

    done: int | None = None
    total: int | None = None


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
        self._ending = Ending(run.pk, interrupter, limits, self._record_the_kill)
        self._renew_at = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._run_until_stopped, name=f"heartbeat of {run}", daemon=True
        )

    def start(self, *, may_beat: bool = True) -> None:
        """Keep the time limit, and beat where another thread can see the run."""
        self._ending.start()
        if may_beat:
            self._thread.start()

    def stop(self) -> None:
        """End, after the beat that is under way."""
        self._ending.stop()
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def save_progress(self) -> None:
        """Write the last figures of a job that counted."""
        if self.progress.done is not None:
            _mine(self._run).update(progress_done=self.progress.done, progress_total=self.progress.total)

    def keep_lease(self) -> None:
        """Renew, if possible, the lease of a job that is over but whose end cannot be recorded yet."""
        with suppress(Error):
            _mine(self._run).update(heartbeat_at=Now())

    def beat(self) -> None:
        """Write what there is to write and, when it is time, look whether somebody wants the run to end.

        The latter also when the output cannot be written: perhaps because the run does not exist any more.
        """
        try:
            self._log.save_new()
        finally:
            if time.monotonic() >= self._renew_at:
                self._renew()
                self._renew_at = time.monotonic() + settings.HEARTBEAT_SECONDS

    def _run_until_stopped(self) -> None:
        try:
            while not self._stopped.wait(min(settings.HEARTBEAT_SECONDS, OUTPUT_SECONDS)):
                try:
                    # A job may fork.
                    with between_forks():
                        self.beat()
                except Error as error:
                    logger.debug("The heartbeat of run %s was not written: %s", self._run.pk, error)
                    connections.close_all()
        finally:
            connections.close_all()

    def _renew(self) -> None:
        mine = _mine(self._run)
        wanted = mine if self._ending.has_begun else mine.filter(cancel_requested_at=None)
        beat = wanted.update(
            heartbeat_at=Now(), progress_done=self.progress.done, progress_total=self.progress.total
        )
        if beat or self._ending.has_begun:
            return
        if (interrupt := end_wanted(self._run)) is not None:
            self._ending.begin(interrupt)

    def _record_the_kill(self, interrupt: JobInterrupt) -> None:
        """The job did not end when it was asked to: the last that its process says of it."""
        why = interrupt.why.plus(killed_by="itself")
        outcome = Outcome(status=interrupt.status, why=why, exit_code=interrupt.exit_code)
        try:
            with between_forks():
                self._log.save_rest()
                attempts.end(self._run, outcome)
        except Error as failure:
            logger.warning("The end of run %s could not be recorded: %s", self._run.pk, failure)
        finally:
            connections.close_all()


def end_wanted(run: Run) -> JobInterrupt | None:
    """What ends this attempt from outside: a request on its row, or that the row is no longer its own."""
    columns = _mine(run).values_list("cancel_requested_at", "reason", "reason_details").first()
    if columns is None:
        return LeaseLost(Why.of(Reason.LOST_HEARTBEAT), run_id=run.pk)
    asked_at, *why = columns
    return None if asked_at is None else JobCancelled(Why.read(*why), run_id=run.pk)


def _mine(run: Run) -> QuerySet[Run]:
    """The run, as long as it is this process's."""
    return Run.objects.filter(pk=run.pk, status=Status.RUNNING, attempt=run.attempt)
