"""Executes a run: claims it, calls its command, and records how it ended.

A worker claims a queued run with a conditional update, so a second worker cannot claim it as well. A command
started from the command line creates its own run, which is then recorded in the same way.

The command being executed gets its run from ``take_over``. This is how ``JobCommand`` can tell a call by the
runner, which is already recorded, from a call on the command line or by another job, which is not.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, cast
from uuid import UUID

from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection

from jobledger import clock
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.formats import size_from_text
from jobledger.jobs import options, registry, secrets
from jobledger.models import Run, Status, Stream
from jobledger.outages import is_outage
from jobledger.runs import attempts, leftovers, overlap
from jobledger.runs.dispatch import IDENTITY
from jobledger.runs.execution import abrupt_ends, exit_functions, handover, hygiene, isolation, resources
from jobledger.runs.execution.coroutines import awaited
from jobledger.runs.execution.process_tree import ProcessTree, process_tree
from jobledger.runs.execution.terminal import no_terminal
from jobledger.runs.execution.threads import Threads
from jobledger.runs.execution.traits import Traits
from jobledger.runs.lease.exit_signals import exit_on_signals
from jobledger.runs.lease.heartbeat import Heartbeat, OutputLog, Progress, pending_interrupt
from jobledger.runs.lease.interrupts import Interrupter, JobInterrupt, interruptible
from jobledger.runs.lease.termination import Limits
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.leftovers import Leftover
from jobledger.runs.outcome import FAILURE, SUCCESS, Outcome, outcome_of
from jobledger.runs.output.capture import Capture, of_worker
from jobledger.runs.publishing import publisher
from jobledger.runs.worker import billiard_internals

logger = line_logger(__name__)

# For workers, which cannot do anything else while the database is unavailable. On a command line, a user is
# waiting, so a lease must suffice.
MAX_OUTAGE_SECONDS = 3600.0
NOT_RECORDED = "Run %s of %s ended as %s, but this could not be recorded: %s"


@dataclass(kw_only=True)
class Execution:
    """A run that this thread is executing."""

    run: Run
    taken_over: bool
    """Whether the run's command has begun: a job that it then calls is a run of its own."""
    progress: Progress
    outer: "Execution | None"
    """The execution that called this one."""
    command: BaseCommand | None = None
    """The command that executes the run: any other one that it calls has a run of its own."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A run after its execution, and the last line of its output."""

    run: Run
    last_line: str


_current: ContextVar[Execution | None] = ContextVar("current_execution", default=None)


def current_run() -> Run | None:
    """The run that is executing the calling code, if any."""
    execution = _current.get()
    return execution.run if execution else None


def current_progress() -> Progress | None:
    """The progress of the job that is being executed, for the job to update."""
    execution = _current.get()
    return execution.progress if execution else None


def held_keys() -> set[str]:
    """The concurrency keys of the runs that are executing the calling code."""
    return {run.concurrency_key for run in _enclosing_runs()} - {""}


def raise_if_interrupted() -> None:
    """Raise the interrupt of an enclosing run that is to end: it must not start anything new."""
    for run in _enclosing_runs():
        if (interrupt := pending_interrupt(run)) is not None:
            raise interrupt


def _enclosing_runs() -> list[Run]:
    """The runs that are executing the calling code, outermost first."""
    runs, execution = list[Run](), _current.get()
    while execution is not None:
        runs.insert(0, execution.run)
        execution = execution.outer
    return runs


def take_over(command: BaseCommand) -> Run | None:
    """The run that was claimed for the calling command, or None if this call of it has no run yet."""
    execution = _current.get()
    if execution is None or execution.taken_over or execution.command is not command:
        return None
    execution.taken_over = True
    return execution.run


def execute(run_id: UUID, *, worker: str, validation_error: str = "") -> Ended | None:
    """Execute a queued run in this process, or fail it if there is a validation error.

    Returns None if the run could not be claimed, because it has finished or another process has it, or if its
    row was deleted in the meantime. Exceptions of the command are recorded on the run and not raised here.
    """
    run = claim(run_id, worker=worker)
    if run is None:
        return None
    if run.status != Status.RUNNING:
        return Ended(run=run, last_line="")
    is_isolated = registry.declaration_of(run.job).isolate and not validation_error and _may_beat()
    last_line = _execute_isolated(run) if is_isolated else _execute_claimed(run, validation_error)
    return Ended(run=ended, last_line=last_line) if (ended := _ended(run)) else None


def _execute_claimed(run: Run, validation_error: str = "") -> str:
    """Execute the run in this process and record it; returns the last line of its output."""
    captured = of_worker(run)
    # Outside of what handles the job's exception, whose traceback keeps the memory of its frames.
    with resources.memory_given_back():
        _execute_captured(run, captured, validation_error)
    return captured.recorder.last_line


def _execute_captured(run: Run, captured: Capture, validation_error: str) -> None:
    try:
        with (
            hygiene.exit_forked_children(),
            hygiene.restored_process(),
            no_terminal(),
            recorded(run, captured),
        ):
            if validation_error:
                raise options.OptionsError(validation_error)
            _call(run, captured)
    except BaseException as error:  # noqa: BLE001 - `recorded` has recorded it; the worker must not end by it
        # Celery logs a line for the end of each task.
        logger.debug("Run %s of %s ended with %s", run.pk, run.job, type(error).__name__)


def _execute_isolated(run: Run) -> str:
    """The same in a process of its own."""
    limits = _limits(run)
    within = None if limits.time_limit is None else limits.time_limit + limits.grace + isolation.KILL_MARGIN
    tree = ProcessTree(run.pk, is_nested=False)
    ending = isolation.in_own_process(run.pk, partial(_execute_claimed, run), within=within)
    # If the process was killed, its own ones were adopted by this one.
    left = tree.end()
    if ending.report is None:
        isolation.record_death(run, ending, limits.time_limit, left, within_seconds=MAX_OUTAGE_SECONDS)
    return ending.report or ""


def execute_in_fresh_process(run_id: str, *, parent: int, report_to: int) -> NoReturn:
    """Execute a run that the parent process has claimed, report to it, and exit."""

    def work() -> str:
        with ledger_connection():
            run = Run.objects.get(pk=run_id)
        return _execute_claimed(run)

    isolation.do(work, parent=parent, report_to=report_to)


@ledger_connection()
def claim(run_id: UUID, *, worker: str) -> Run | None:
    """Move a queued run to running, for this worker only.

    Returns None if it is not queued, or if it is too early or too late to start. A run that must not overlap
    with a running one is skipped or has to wait, and is returned in its new state.
    """
    # The policy and the time come with the run, instead of in two more statements.
    startable = Run.objects.startable(clock.in_statement()).select_related("schedule__policy")
    run = startable.annotate(found_at=clock.in_statement()).filter(pk=run_id).first()
    if run is None:
        publisher.postpone(run_id, clock.now())
        return None
    now, guard = cast("Any", run).found_at, overlap.guard_of(run)
    changes = {"started_at": now, "heartbeat_at": now, "publish_after": None}
    by = {"worker": worker, "worker_identity": IDENTITY}
    return run if overlap.start(run, guard, now, **changes, **by) else None


@ledger_connection()
def _ended(run: Run) -> Run | None:
    """The run as it is now. One whose success was recorded is up to date."""
    return run if run.status == Status.SUCCEEDED else Run.objects.filter(pk=run.pk).first()


@contextmanager
def recorded(run: Run, captured: Capture, *, taken_over: bool = False) -> Iterator[None]:
    """Capture the run's output and renew its lease during the block, record how it ends, and re-raise errors.

    A failure to record the end never hides an exception of the block.
    """
    pid, of_caller = os.getpid(), hygiene.connections_in_transaction()
    recorder = captured.recorder
    log = OutputLog(run, recorder)
    # Whatever happens: a run succeeds only if its job has come to its end.
    outcome = FAILURE
    with (
        captured,
        interruptible() as interrupter,
        resources.measured(captured.note_usage) as meter,
        process_tree(run.pk, is_nested=_current.get() is not None, adopts=not taken_over) as tree,
    ):
        heartbeat = Heartbeat(run, log, interrupter, tree, _limits(run), meter)
        execution = Execution(
            run=run,
            taken_over=taken_over,
            progress=heartbeat.progress,
            outer=_current.get(),
        )
        token = _current.set(execution)
        threads, traits = Threads(), Traits(taken_over=taken_over)
        abilities = handover.Abilities()
        try:
            try:
                may_beat = _may_beat()
                heartbeat.start(may_beat=may_beat)
                # Those of the heartbeat are not the job's.
                threads = Threads()
                # On the command line, the process waits for them when it exits.
                waits = nullcontext() if taken_over else threads.awaited()
                record_exit = partial(_record_exit, run, log, heartbeat, interrupter, meter)
                exits = nullcontext() if taken_over else exit_functions.called()
                with exits, waits, abrupt_ends.running(record_exit, by_other_thread=may_beat):
                    yield
                outcome = SUCCESS
            finally:
                interrupter.disarm()
                if os.getpid() == pid:
                    with abilities.not_blamed():
                        traits.restore()
                        captured.end()
        except BaseException as error:
            outcome = _masked(run, outcome_of(error, last_error_line=recorder.last_error_line))
            raise
        finally:
            _current.reset(token)
            # A job may fork: the child also leaves this block, but the run does not belong to it.
            if os.getpid() == pid:
                if are_lost := abilities.are_lost:
                    # What follows may need what is lost. Whoever takes over also ends the job's processes.
                    handover.hand_over(run, replace(outcome, usage=meter.usage()), captured)
                # First: the heartbeat may be waiting for a lock of the job's transaction.
                hygiene.release_connections(of_caller=of_caller, close=not taken_over)
                heartbeat.job_has_ended()
                left = _end_what_was_started(tree, threads, outcome, taken_over=taken_over)
                heartbeat.stop()
                outcome = replace(outcome, usage=meter.usage())
                timeout = settings.LEASE_SECONDS if taken_over else MAX_OUTAGE_SECONDS
                end = partial(_end, run, log, heartbeat, outcome, left)
                if not _try_to_end(run, end, outcome, heartbeat, 0 if are_lost else timeout):
                    handover.hand_over(run, outcome, captured)


def _record_exit(
    run: Run,
    log: OutputLog,
    heartbeat: Heartbeat,
    interrupter: Interrupter,
    meter: resources.Meter,
    end: SystemExit,
) -> None:
    """Record the end of a run whose process is about to end."""
    interrupter.disarm()
    # Before writing: it may be waiting to do so.
    heartbeat.stop()
    outcome = _masked(run, outcome_of(end, last_error_line=log.last_error_line))
    abrupt_ends.write(partial(_end, run, log, heartbeat, replace(outcome, usage=meter.usage()), []))


def _end_what_was_started(
    tree: ProcessTree, threads: Threads, outcome: Outcome, *, taken_over: bool
) -> list[Leftover]:
    """End the job's processes; returns what is left, and has a worker's child replaced if it is not clean.

    On the command line, a job that ends by itself may leave processes behind, as without this service. So may
    a job that another one calls, since they end with the other.
    """
    if taken_over:
        return tree.end() if isinstance(outcome.cause, JobInterrupt) else []
    left = [*tree.end(), *threads.left()]
    if left or tree.was_needed:
        billiard_internals.exit_after_this_task()
    return left


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


def _limits(run: Run) -> Limits:
    declared = registry.declaration_of(run.job)
    return Limits(
        time_limit=declared.time_limit,
        grace=declared.time_limit_grace,
        # An invalid value, which a system check reports, must not leave the run without an end.
        memory_bytes=size_from_text(str(declared.memory_limit)),
    )


@ledger_connection()
def _may_beat() -> bool:
    """Other threads cannot see this one's open transaction or in-memory SQLite database."""
    in_memory = getattr(connection, "is_in_memory_db", bool)()
    return not (connection.in_atomic_block or in_memory)


def _call(run: Run, captured: Capture) -> None:
    job = registry.find(run.job)
    options.check_bounds(run.options)
    # Not needed for an empty list, and slow. The command validates the list with its own parser in any case.
    argv = options.to_argv(job.create_parser(), run.options) if run.options else []
    command = options.parsing_strictly(job.create_command())
    if (execution := _current.get()) is not None:
        execution.command = command
    streams = {stream.value: captured.stream_for(stream) for stream in (Stream.STDOUT, Stream.STDERR)}
    with exit_on_signals(), captured.job_running(), awaited(command):
        call_command(command, *argv, **streams)


def _try_to_end(
    run: Run, end: Callable[[], None], outcome: Outcome, heartbeat: Heartbeat, timeout_seconds: float
) -> bool:
    """Record the end, retrying while the database is unavailable. Returns whether that has succeeded."""
    until = time.monotonic() + timeout_seconds
    while True:
        try:
            end()
            return True
        except Exception as error:
            # The job's own exception, if any, is being raised, and must not be hidden by this one.
            if not is_outage(error) or time.monotonic() >= until or _is_in_transaction():
                is_unexpected = timeout_seconds > 0
                logger.error(NOT_RECORDED, run.pk, run.job, outcome.status, error, exc_info=is_unexpected)
                # If this process is the reason, it must not fail all later runs as well.
                billiard_internals.exit_after_this_task()
                return False
            logger.warning("Could not record the end of run %s of %s yet: %s", run.pk, run.job, error)
            heartbeat.renew_lease()
            time.sleep(settings.HEARTBEAT_SECONDS)


@ledger_connection()
def _is_in_transaction() -> bool:
    """Whether the record shares a transaction of the caller: after an error, nothing can be written in it."""
    return connection.in_atomic_block


@ledger_connection()
def _end(run: Run, log: OutputLog, heartbeat: Heartbeat, outcome: Outcome, left: list[Leftover]) -> None:
    # Not in one transaction: a retry would not save again what was rolled back.
    # Output before status: followers stop reading once the run has finished.
    log.save_remaining()
    heartbeat.save_progress()
    leftovers.record(run, left)
    left.clear()
    ended = attempts.end(run, outcome)
    if not ended:
        text = "Run %s of %s ended as %s, but no longer belonged to this process"
        logger.error(text, run.pk, run.job, outcome.status)
