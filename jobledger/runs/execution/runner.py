"""Executes a run: claims it, calls its command, and records how it ended.

A worker claims a queued run first (``claims``). A command started from the command line creates its own run,
which is then recorded in the same way.

The command being executed gets its run from ``take_over``. This is how ``JobCommand`` can tell a call by the
runner, which is already recorded, from a call on the command line or by another job, which is not.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import NoReturn
from uuid import UUID

from django.core.management import call_command
from django.core.management.base import BaseCommand

from jobledger.escapes import line_logger
from jobledger.jobs import options, registry
from jobledger.jobs.functions import FunctionCommand
from jobledger.logs.running import logging_as
from jobledger.logs.service import WORKER, name_service
from jobledger.models import Run, Status, Stream
from jobledger.runs import limits as run_limits
from jobledger.runs import run_lines
from jobledger.runs.execution import abrupt_ends, claims, exit_functions, hygiene, isolation, run_end
from jobledger.runs.execution.coroutines import awaited
from jobledger.runs.execution.run_end import MAX_OUTAGE_SECONDS, RunEnd
from jobledger.runs.execution.terminal import no_terminal
from jobledger.runs.execution.threads import Threads
from jobledger.runs.execution.traits import Traits
from jobledger.runs.lease.exit_signals import defer_exit_signals, exit_on_signals, sigint_not_ignored
from jobledger.runs.lease.heartbeat import Heartbeat, OutputLog, Progress, pending_interrupt, renew_lease
from jobledger.runs.lease.interrupts import interruptible
from jobledger.runs.ledger_connection import is_seen_by_others, job_begins, ledger_connection
from jobledger.runs.outcome import FAILURE, SUCCESS
from jobledger.runs.output import salvage
from jobledger.runs.output.capture import Capture, of_worker
from jobledger.runs.processes import job_threads, resources, shared_process
from jobledger.runs.processes.process_tree import ProcessTree, process_tree
from jobledger.tracing import spans

logger = line_logger(__name__)


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


def execute(
    run_id: UUID,
    *,
    worker: str,
    validation_error: str = "",
    job: registry.Job | None = None,
    on_start: Callable[[], object] = isolation.nothing,
) -> Ended | None:
    """Execute a queued run in this process, or fail it if there is a validation error.

    Returns None if the run could not be claimed, because it has finished or another process has it, or if its
    row was deleted in the meantime. Exceptions of the command are recorded on the run and not raised here.
    ``on_start`` is called if it was claimed, has returned before this does, and may take its time.
    """
    with claims.in_hand(run_id):
        with salvage.claiming(run_id):
            run = claims.claim(run_id, worker=worker, job=job)
        if run is None:
            return None
        if run.status != Status.RUNNING:
            return Ended(run=run, last_line="")
        return _execute(run, validation_error, on_start)


def _execute(run: Run, validation_error: str, on_start: Callable[[], object]) -> Ended | None:
    is_isolated = _needs_process(run) and not validation_error and is_seen_by_others()
    last_line = (
        _execute_isolated(run, on_start) if is_isolated else _execute_claimed(run, validation_error, on_start)
    )
    return Ended(run=ended, last_line=last_line) if (ended := _ended(run)) else None


def _needs_process(run: Run) -> bool:
    """Whether its job declares that; or a memory limit, which cannot be enforced on one of many threads."""
    if registry.declaration_of(run.job).isolate:
        return True
    return shared_process.is_shared() and run_limits.of_run(run).memory_bytes is not None


def _execute_claimed(
    run: Run, validation_error: str = "", on_start: Callable[[], object] = isolation.nothing
) -> str:
    """Execute the run in this process and record it; returns the last line of its output."""
    captured = of_worker(run)
    # Outside of what handles the job's exception, whose traceback keeps the memory of its frames.
    with resources.memory_given_back():
        _execute_captured(run, captured, validation_error, on_start)
    return captured.recorder.last_line


def _execute_captured(
    run: Run, captured: Capture, validation_error: str, on_start: Callable[[], object]
) -> None:
    has_begun = False
    try:
        with (
            hygiene.exit_forked_children(),
            hygiene.restored_process(),
            no_terminal(),
            defer_exit_signals(),
            recorded(run, captured),
        ):
            has_begun = True
            on_start()
            if validation_error:
                raise options.OptionsError(validation_error)
            _call(run, captured)
    except BaseException as error:  # noqa: BLE001 - `recorded` has recorded it; the worker must not end by it
        # Celery logs a line for the end of each task.
        logger.debug("Run %s of %s ended with %s", run.pk, run.job, type(error).__name__)
        if not has_begun:
            run_end.record_unbegun(run, error)


def _execute_isolated(run: Run, on_start: Callable[[], object]) -> str:
    """The same in a process of its own, which renews the lease meanwhile."""
    limits = run_limits.of_run(run)
    within = None if limits.time_limit is None else limits.time_limit + limits.grace + isolation.KILL_MARGIN
    # A process that other runs share has children of others, and does not adopt orphans.
    is_shared = shared_process.is_shared()
    job_begins()
    tree = ProcessTree(run.pk, is_nested=is_shared, is_shared=is_shared)
    with (
        logging_as(run_lines.logged(run), is_process_wide=not is_shared),
        salvage.of_thread() if is_shared else nullcontext(),
    ):
        ending = isolation.in_own_process(
            run.pk,
            partial(_execute_claimed, run),
            within=within,
            beside=on_start,
            renew=partial(renew_lease, run),
        )
        # If the process was killed, its own ones were adopted by this one.
        left = tree.end()
        if ending.report is None:
            isolation.record_death(run, ending, limits, left, within_seconds=MAX_OUTAGE_SECONDS)
    return ending.report or ""


def execute_in_fresh_process(run_id: str, *, parent: int, report_to: int) -> NoReturn:
    """Execute a run that the parent process has claimed, report to it, and exit."""

    def work() -> str:
        name_service(WORKER)
        with ledger_connection():
            run = Run.objects.get(pk=run_id)
        return _execute_claimed(run)

    isolation.do(work, parent=parent, report_to=report_to)


def _ended(run: Run) -> Run | None:
    """The run as it is now. One whose success was recorded is up to date."""
    if run.status == Status.SUCCEEDED:
        return run
    with ledger_connection():
        return Run.objects.filter(pk=run.pk).first()


@contextmanager
def recorded(run: Run, captured: Capture, *, taken_over: bool = False) -> Iterator[None]:
    """Capture the run's output and renew its lease during the block, record how it ends, and re-raise errors.

    A failure to record the end never hides an exception of the block.
    """
    with (
        logging_as(run_lines.logged(run), is_process_wide=captured.is_process_wide),
        job_threads.noted() if shared_process.is_shared() else nullcontext(),
        _prepared(run, captured, taken_over=taken_over) as end,
    ):
        progress = end.heartbeat.progress
        token = _current.set(
            Execution(run=run, taken_over=taken_over, progress=progress, outer=_current.get())
        )
        # Whatever happens: a run succeeds only if its job has come to its end.
        threads, outcome = None, FAILURE
        # Not context managers: an interrupt may be raised at any time before `clean_up` disarms it.
        try:
            try:
                may_beat = is_seen_by_others()
                end.heartbeat.start(may_beat=may_beat, tick=captured.tick)
                # Those of the heartbeat are not the job's.
                threads = Threads(others=end.heartbeat.threads)
                # On the command line, the process waits for them when it exits.
                waits = nullcontext() if taken_over else threads.awaited()
                exits = nullcontext() if taken_over else exit_functions.called()
                running = abrupt_ends.running(end.record_exit, by_other_thread=may_beat)
                with exits, waits, spans.of_attempt(run), running, end.kept(_enclosing_runs()):
                    yield
                outcome = SUCCESS
            finally:
                end.clean_up()
        except BaseException as error:
            outcome = end.outcome_of(error)
            raise
        finally:
            _current.reset(token)
            end.record(outcome, Threads() if threads is None else threads)
            spans.forget(run)


@contextmanager
def _prepared(run: Run, captured: Capture, *, taken_over: bool) -> Iterator[RunEnd]:
    """What a job is executed in, with what then records its end."""
    spans.set_up()
    # Before what it writes is captured.
    run_lines.started(run)
    of_caller = hygiene.connections_in_transaction()
    log = OutputLog(run, captured.recorder)
    with (
        captured,
        interruptible() as interrupter,
        resources.measured(captured.note_usage) as meter,
        process_tree(run.pk, is_nested=_current.get() is not None, adopts=not taken_over) as tree,
    ):
        yield RunEnd(
            run=run,
            captured=captured,
            taken_over=taken_over,
            log=log,
            heartbeat=Heartbeat(run, log, interrupter, tree, run_limits.of_run(run), meter),
            interrupter=interrupter,
            tree=tree,
            meter=meter,
            traits=Traits(taken_over=taken_over, loggers_too=not captured.restores_loggers),
            of_caller=of_caller,
        )


def _call(run: Run, captured: Capture) -> None:
    # From here on, the job's own code is executed.
    job_begins()
    job = registry.find(run.job)
    options.check_bounds(run.options)
    command = job.create_command()
    if isinstance(command, FunctionCommand):
        _call_function(command, run, captured)
        return
    # As `call_command` does, which would create another one.
    parser = command.create_parser("", job.name) if run.options else None
    argv = options.to_argv(parser, run.options) if parser else []
    options.parsing_strictly(command, parser)
    if (execution := _current.get()) is not None:
        execution.command = command
    streams = {stream.value: captured.stream_for(stream) for stream in (Stream.STDOUT, Stream.STDERR)}
    with sigint_not_ignored(), exit_on_signals(), captured.job_running(), awaited(command):
        call_command(command, *argv, **streams)


def _call_function(command: FunctionCommand, run: Run, captured: Capture) -> None:
    # Where there are functions, there is Django's framework for them, or its backport.
    from jobledger.django_tasks import execution

    with (
        sigint_not_ignored(),
        exit_on_signals(),
        captured.job_running(),
        awaited(command, rejects_results=False),
    ):
        execution.call(command, run)
