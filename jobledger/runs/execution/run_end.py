"""Records how a run ends, once its job has ended.

Usually, ``RunEnd.record`` does. If the process itself ends at once, there is only time for ``record_exit``.
If the process cannot record the end any more, another one does (``handover``).
"""

import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

from django.db import Error, connection

from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.jobs import secrets
from jobledger.models import Run, Status
from jobledger.outages import is_outage, is_unanswered, with_causes
from jobledger.runs import attempts
from jobledger.runs.execution import abrupt_ends, hygiene
from jobledger.runs.execution.handover import Abilities, as_bytes, hand_over
from jobledger.runs.execution.threads import Threads
from jobledger.runs.execution.traits import Traits
from jobledger.runs.lease.exit_signals import is_exit_deferred
from jobledger.runs.lease.heartbeat import Heartbeat, OutputLog
from jobledger.runs.lease.interrupts import Interrupter, JobInterrupt
from jobledger.runs.ledger_connection import job_has_ended, ledger_connection
from jobledger.runs.outcome import FAILURE, Outcome, SignalExit, outcome_of, traceback_of
from jobledger.runs.output.capture import Capture
from jobledger.runs.processes import announcements, billiard_internals, leftovers
from jobledger.runs.processes.forks import write_between_forks
from jobledger.runs.processes.leftovers import Leftover
from jobledger.runs.processes.process_tree import ProcessTree
from jobledger.runs.processes.resources import Meter
from jobledger.tracing import spans

logger = line_logger(__name__)

# For workers, which cannot do anything else while the database is unavailable. On a command line, a user is
# waiting, so a lease must suffice.
MAX_OUTAGE_SECONDS = 3600.0
MAX_UNBEGUN_SECONDS = 20.0
"""The process may be what keeps it from being recorded."""
NOT_RECORDED = "Run %s of %s ended as %s, but this could not be recorded: %s"


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """The end of a run that this process executes. To be created before its job begins."""

    run: Run
    captured: Capture
    taken_over: bool
    """Whether the job is executed on the command line or by another job, and not for a worker."""
    log: OutputLog
    heartbeat: Heartbeat
    interrupter: Interrupter
    tree: ProcessTree
    meter: Meter
    of_caller: frozenset[str]
    """The aliases of connections whose transactions continue after the run."""
    pid: int = field(default_factory=os.getpid)
    """A job may fork: the child also comes to the end, but the run does not belong to it."""
    traits: Traits
    """As they were before the job."""
    abilities: Abilities = field(default_factory=Abilities)

    @contextmanager
    def kept(self, enclosing: Sequence[Run]) -> Iterator[None]:
        """In the block, the job is executed. What has ended it is raised even if an error has replaced it.

        That is a signal, or an interrupt of one of these runs, the last of which is this one. The job may
        raise an error as it cleans up, with or without a cause, and so does Django, which can no longer use a
        connection whose COMMIT was interrupted. The error is in the job's output. If only a run that the job
        has called was interrupted, the job's own error counts, and so does an exit of its own.
        """
        ids = {run.pk for run in enclosing}
        try:
            yield
        except Exception as error:
            if not _ends_behind(error, ids):
                raise
            self._print(error)
            raise _ends_behind(error, ids)[0] from None

    def _print(self, error: Exception) -> None:
        # The job may have closed or replaced the stream.
        with suppress(Exception):
            text = secrets.without_secrets(self.run.job, self.run.options, traceback_of(error))
            sys.stderr.write(f"As the job was ended, it raised an error:\n{text}")

    def clean_up(self) -> None:
        """Interrupt the job no more, and undo what it has changed in its process."""
        self.interrupter.disarm()
        if os.getpid() == self.pid:
            with self.abilities.not_blamed():
                self.traits.restore()
                self.captured.restore_loggers()
                self.captured.settle()

    def outcome_of(self, error: BaseException) -> Outcome:
        """The outcome of a job that has raised this exception."""
        return _masked(self.run, outcome_of(error, last_error_line=self.log.last_error_line))

    def record(self, outcome: Outcome, threads: Threads) -> None:
        """Record the outcome, or leave it to another process. A failure to do so raises no exception."""
        if os.getpid() != self.pid:
            return
        if are_lost := self.abilities.are_lost:
            # What follows may need what is lost. Whoever takes over also ends the job's processes.
            self._end_capture()
            hand_over(self.run, self._with_usage(outcome), self.captured)
        # First: the heartbeat may be waiting for a lock of the job's transaction.
        hygiene.release_connections(of_caller=self.of_caller, close=not self.taken_over)
        self.heartbeat.job_has_ended()
        try:
            left = self._end_what_was_started(threads, outcome)
        finally:
            # What its processes write when they are asked to end is still its output.
            if not are_lost:
                self._end_capture()
        outcome = self._with_usage(outcome)
        self._keep(outcome)
        # It may be waiting for the database.
        self.heartbeat.stop()
        timeout = settings.LEASE_SECONDS if self.taken_over else MAX_OUTAGE_SECONDS
        if not self._try_to_write(outcome, left, timeout_seconds=0 if are_lost else timeout):
            hand_over(self.run, outcome, self.captured)

    def record_exit(self, end: SystemExit) -> None:
        """Record the outcome in a process that is about to end."""
        self.interrupter.disarm()
        # Before writing: it may be waiting to do so.
        self.heartbeat.stop()
        outcome = self._with_usage(self.outcome_of(end))
        abrupt_ends.write(partial(self._write, outcome, []))
        spans.flush()

    def _end_capture(self) -> None:
        with self.abilities.not_blamed():
            self.captured.end()

    def _with_usage(self, outcome: Outcome) -> Outcome:
        return replace(outcome, usage=self.meter.usage())

    def _keep(self, outcome: Outcome) -> None:
        """Leave it to another process if this one is killed before it is recorded, such as at its time limit.

        That goes on while the database is away, or does not answer.
        """
        if not self.taken_over:
            # Without it, only more is lost if it is killed.
            with suppress(Exception):
                self.captured.hand_over(as_bytes(self.run, outcome))

    def _end_what_was_started(self, threads: Threads, outcome: Outcome) -> list[Leftover]:
        """End the job's processes; returns what is left, and replaces a worker's child that is not clean.

        Of one that is, the worker may fetch the next message. On the command line, a job that ends by itself
        may leave processes behind, as without this service. So may a job that another one calls, since they
        end with the other.
        """
        if self.taken_over:
            return self.tree.end() if isinstance(outcome.cause, JobInterrupt) else []
        left = [*self.tree.end(), *threads.left()]
        if left or self.tree.was_needed:
            billiard_internals.exit_after_this_task()
        else:
            job_has_ended()
            announcements.announce(self.run.pk, self.run.attempt)
        return left

    def _try_to_write(self, outcome: Outcome, left: list[Leftover], *, timeout_seconds: float) -> bool:
        """Record the end, retrying while the database is unavailable. Returns whether that has succeeded."""
        until, is_doubtful = time.monotonic() + timeout_seconds, False
        while True:
            try:
                self._write(outcome, left, is_doubtful=is_doubtful)
                return True
            except Exception as error:
                # The job's own exception, if any, is being raised, and must not be hidden by this one.
                is_too_late = time.monotonic() >= until or is_exit_deferred()
                if not is_outage(error) or is_too_late or _is_in_transaction():
                    is_unexpected = timeout_seconds > 0
                    ended = self.run.pk, self.run.job, outcome.status
                    logger.error(NOT_RECORDED, *ended, error, exc_info=is_unexpected)
                    # If this process is the reason, it must not fail all later runs as well.
                    billiard_internals.exit_after_this_task()
                    return False
                text = "Could not record the end of run %s of %s yet: %s"
                logger.warning(text, self.run.pk, self.run.job, error)
                is_doubtful = is_doubtful or is_unanswered(error)
                self.heartbeat.renew_lease()
                time.sleep(settings.HEARTBEAT_SECONDS)

    @ledger_connection()
    def _write(self, outcome: Outcome, left: list[Leftover], *, is_doubtful: bool = False) -> None:
        """``is_doubtful`` if an earlier try was not answered, and may have been committed."""
        # Not in one transaction: a retry would not save again what was rolled back.
        # Output before status: followers stop reading once the run has finished.
        self.log.save_remaining()
        self.heartbeat.save_progress()
        leftovers.record(self.run, left)
        left.clear()
        if attempts.end(self.run, outcome) or (is_doubtful and attempts.is_on_record(self.run, outcome)):
            return
        text = "Run %s of %s ended as %s, but no longer belonged to this process"
        logger.error(text, self.run.pk, self.run.job, outcome.status)


def _ends_behind(error: Exception, ids: Collection[UUID]) -> Sequence[JobInterrupt | SignalExit]:
    """Those that the error was raised from or during, and that end these runs, the last one first."""
    return [
        each
        for each in with_causes(error)
        if isinstance(each, SignalExit) or (isinstance(each, JobInterrupt) and each.run_id in ids)
    ]


def record_unbegun(run: Run, error: BaseException) -> None:
    """Record that the run could not even begin, unless its end is on record, and replace a worker's child.

    Other tasks may have broken the process, by leaving too many files open for example.
    """
    billiard_internals.exit_after_this_task()
    outcome = _masked(run, outcome_of(error))
    # Such as by the exit of the process.
    outcome = FAILURE if outcome.status is Status.SUCCEEDED else outcome

    def write() -> None:
        with ledger_connection():
            attempts.end(run, outcome)

    try:
        write_between_forks(write, within_seconds=MAX_UNBEGUN_SECONDS)
    except Error:
        logger.exception(NOT_RECORDED, run.pk, run.job, outcome.status, error)


def _masked(run: Run, outcome: Outcome) -> Outcome:
    """The outcome without the run's secrets: parsers and libraries quote their input."""
    try:
        error, traceback = (
            secrets.without_secrets(run.job, run.options, text) for text in (outcome.error, outcome.traceback)
        )
    except Exception as problem:  # noqa: BLE001 - its own traceback would show the error
        name = type(problem).__name__
        logger.error("The error of run %s of %s cannot be masked: %s", run.pk, run.job, name)
        error, traceback = "", ""
    return replace(outcome, error=error, traceback=traceback)


@ledger_connection()
def _is_in_transaction() -> bool:
    """Whether the record shares a transaction of the caller: after an error, nothing can be written in it."""
    return connection.in_atomic_block
