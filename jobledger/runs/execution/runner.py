"""Executes one run: claims it, runs its command, and records how it ended.

A worker claims a queued run by a conditional update; a second worker finds it taken. A command that was
started from the command line makes its run itself and is then recorded in the same way.

The command under execution gets its run from ``take_over``. So ``JobCommand`` can tell a call by the runner,
which is recorded already, from one on the command line or by another job, which is not.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import UUID

from django.conf import settings
from django.core.management import call_command
from django.db import connection

from jobledger import clock
from jobledger.escapes import line_logger
from jobledger.jobs import options, registry, secrets
from jobledger.models import Run, Status, Stream
from jobledger.outages import is_outage
from jobledger.runs import attempts, overlap
from jobledger.runs.dispatch import IDENTITY
from jobledger.runs.execution import hygiene, output
from jobledger.runs.lease.ending import Limits
from jobledger.runs.lease.heartbeat import Heartbeat, OutputLog, Progress, end_wanted
from jobledger.runs.lease.interrupts import JobInterrupt, interruptible
from jobledger.runs.outcome import SUCCESS, Outcome, outcome_of
from jobledger.runs.publishing import publisher

logger = line_logger(__name__)

# A worker has nothing else to do while the database is away; on a command line a user is waiting.
MAX_OUTAGE_SECONDS = 3600.0
NOT_RECORDED = "Run %s of %s %s, but that could not be recorded"


@dataclass(kw_only=True)
class Execution:
    """A run under execution in this thread."""

    run: Run
    recorder: output.OutputRecorder
    taken_over: bool
    """Whether the command of this run has begun: a job that it calls is then another run."""
    progress: Progress
    within: "Execution | None"
    """The execution that called this one."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run after its execution, and the last line that it wrote."""

    run: Run
    last_line: str


_current: ContextVar[Execution | None] = ContextVar("current_execution", default=None)


def current_run() -> Run | None:
    """The run that this code is executed by, if any."""
    execution = _current.get()
    return execution.run if execution else None


def current_progress() -> Progress | None:
    """Where the job under execution says how far it has come."""
    execution = _current.get()
    return execution.progress if execution else None


def held_keys() -> set[str]:
    """What the runs that this code is executed by must not overlap with."""
    return {run.concurrency_key for run in _runs_around()} - {""}


def end_if_wanted() -> None:
    """Raise the interrupt of a run that this code is executed by, if it is to end: it begins nothing new."""
    for run in _runs_around():
        if (interrupt := end_wanted(run)) is not None:
            raise interrupt


def _runs_around() -> list[Run]:
    """The runs that this code is executed by, the outermost first."""
    runs, execution = list[Run](), _current.get()
    while execution is not None:
        runs.insert(0, execution.run)
        execution = execution.within
    return runs


def take_over(job: str) -> Run | None:
    """The run that was claimed for the command that calls this; None when the call is not recorded yet."""
    execution = _current.get()
    if execution is None or execution.taken_over or execution.run.job != job:
        return None
    execution.taken_over = True
    return execution.run


def execute(run_id: UUID, *, worker: str, refusal: str = "") -> Ended | None:
    """Execute a queued run in this process, or, with a refusal, fail it with that message.

    Returns None if the run could not be claimed, because another process has it or it is over, and if its row
    was deleted meanwhile. What the command raises ends up in the run's row, not here.
    """
    run = claim(run_id, worker=worker)
    if run is None:
        return None
    recorder = new_recorder()
    if run.status != Status.RUNNING:
        return Ended(run=run, last_line="")
    try:
        with hygiene.one_process(), hygiene.clean_process(), recorded(run, recorder):
            if refusal:
                raise options.OptionsError(refusal)
            _call(run, recorder)
    except (Exception, SystemExit, JobInterrupt) as error:  # noqa: BLE001 - `recorded` has written it down
        logger.info("Run %s of %s ended with %s", run.pk, run.job, type(error).__name__)
    ended = Run.objects.filter(pk=run.pk).first()
    return Ended(run=ended, last_line=recorder.last_line) if ended else None


def claim(run_id: UUID, *, worker: str) -> Run | None:
    """Move a queued run to running, for this worker alone.

    Returns None if it is not queued, or it is too early or too late to start. A run whose job is held by
    another one is skipped or waits, and is returned in its new state.
    """
    now = clock.now()
    run = Run.objects.startable(now).filter(pk=run_id).first()
    if run is None:
        publisher.postpone(run_id, now)
        return None
    guard = overlap.guard_of(run)
    changes = {"started_at": now, "heartbeat_at": now, "publish_after": None}
    by = {"worker": worker, "worker_identity": IDENTITY}
    return run if overlap.start(run, guard, now, **changes, **by) else None


def new_recorder() -> output.OutputRecorder:
    """A recorder with the project's limit."""
    return output.OutputRecorder(settings.RUN_OUTPUT_LIMIT_BYTES)


@contextmanager
def recorded(run: Run, recorder: output.OutputRecorder, *, taken_over: bool = False) -> Iterator[None]:
    """Keep the run's lease while the block runs, record how it ends, and re-raise what it raised.

    A failure to record never replaces an exception of the block.
    """
    pid, in_transaction = os.getpid(), connection.in_atomic_block
    log = OutputLog(run, recorder)
    outcome = SUCCESS
    with interruptible() as interrupter:
        heartbeat = Heartbeat(run, log, interrupter, _limits(run))
        execution = Execution(
            run=run,
            recorder=recorder,
            taken_over=taken_over,
            progress=heartbeat.progress,
            within=_current.get(),
        )
        token = _current.set(execution)
        heartbeat.start(may_beat=_may_beat())
        try:
            try:
                yield
            finally:
                interrupter.disarm()
        except BaseException as error:
            outcome = _discreet(run, outcome_of(error, last_error_line=recorder.last_error_line))
            raise
        finally:
            _current.reset(token)
            # A job may fork: its child also leaves this block, but the run is not its own.
            if os.getpid() == pid:
                heartbeat.stop()
                if not in_transaction:
                    hygiene.close_what_was_left_open()
                patience = settings.LEASE_SECONDS if taken_over else MAX_OUTAGE_SECONDS
                _try_to_end(run, log, heartbeat, outcome, 0 if connection.in_atomic_block else patience)


def _discreet(run: Run, outcome: Outcome) -> Outcome:
    """The outcome without the run's secrets: parsers and libraries quote what they were given."""
    error, traceback = (
        secrets.without_secrets(run.job, run.options, text) for text in (outcome.error, outcome.traceback)
    )
    return replace(outcome, error=error, traceback=traceback)


def _limits(run: Run) -> Limits:
    declared = registry.declaration_of(run.job)
    return Limits(time_limit=declared.time_limit, grace=declared.time_limit_grace)


def _may_beat() -> bool:
    """Another thread sees neither a transaction of this one nor, with SQLite, a database in memory."""
    in_memory = getattr(connection, "is_in_memory_db", bool)()
    return not (connection.in_atomic_block or in_memory)


def _call(run: Run, recorder: output.OutputRecorder) -> None:
    job = registry.find(run.job)
    parser = job.create_parser()
    options.validate_options(parser, run.options)
    argv = options.to_argv(parser, run.options)
    call_command(
        job.name,
        *argv,
        stdout=output.Tee(recorder, Stream.STDOUT),
        stderr=output.Tee(recorder, Stream.STDERR),
    )


def _try_to_end(
    run: Run, log: OutputLog, heartbeat: Heartbeat, outcome: Outcome, patience_seconds: float
) -> None:
    """Record the end; while the database is away, try again."""
    until = time.monotonic() + patience_seconds
    while True:
        try:
            _end(run, log, heartbeat, outcome)
            return
        except Exception as error:
            # The job's own exception, if any, is being raised: it must not be replaced by this one.
            if not is_outage(error) or time.monotonic() >= until:
                logger.exception(NOT_RECORDED, run.pk, run.job, outcome.status)
                return
            logger.warning("The end of run %s of %s cannot be recorded yet: %s", run.pk, run.job, error)
            connection.close()
            heartbeat.keep_lease()
            time.sleep(settings.HEARTBEAT_SECONDS)


def _end(run: Run, log: OutputLog, heartbeat: Heartbeat, outcome: Outcome) -> None:
    # Not in one transaction: the next try would not write what was rolled back with a failed one.
    # Output before the status: a follower stops reading once the run has ended.
    log.save_rest()
    heartbeat.save_progress()
    ended = attempts.end(run, outcome)
    if not ended:
        text = "Run %s of %s ended as %s, but was not this process's any more"
        logger.error(text, run.pk, run.job, outcome.status)
