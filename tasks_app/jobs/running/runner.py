"""Executes one run: claims it, runs its command, records how it ended.

A worker claims a queued run by a conditional update; whoever comes second finds it taken. A command
that was started by hand begins its run itself and is then recorded in the same way.

The command under execution learns its run from ``take_over``. That is how ``JobCommand`` tells a
call by the runner (already recorded) from a call by hand or from another job (to be recorded).
"""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from tasks_app.jobs.defining import arguments, registry
from tasks_app.jobs.models import Run, Status, Stream
from tasks_app.jobs.running import output

logger = logging.getLogger(__name__)

# argparse's own exit code for a bad command line.
BAD_OPTIONS_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130


@dataclass(kw_only=True)
class Execution:
    """A run under execution in this thread."""

    run: Run
    recorder: output.OutputRecorder
    taken_over: bool
    """Whether the command of this run has begun: a job that it calls is then another run."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended."""

    status: Status
    exit_code: int | None
    error: str = ""
    traceback: str = ""


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


def take_over(job: str) -> Run | None:
    """The run that was claimed for the command that calls this; None when the call is not recorded yet."""
    execution = _current.get()
    if execution is None or execution.taken_over or execution.run.job != job:
        return None
    execution.taken_over = True
    return execution.run


def execute(run_id: UUID, *, worker: str, refusal: str = "") -> Ended | None:
    """Execute a queued run in this process, or, with a refusal, fail it with that message.

    None when the run was not there to claim: somebody else has it, or it is over. What the command
    raises ends in the run's row, not here.
    """
    run = claim(run_id, worker=worker)
    if run is None:
        return None
    recorder = new_recorder()
    try:
        with recorded(run, recorder):
            if refusal:
                raise arguments.OptionsError(refusal)
            _call(run, recorder)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - `recorded` has written it down
        logger.info("Run %s of %s ended with %s", run.pk, run.job, type(error).__name__)
    run.refresh_from_db()
    return Ended(run=run, last_line=recorder.last_line)


def claim(run_id: UUID, *, worker: str) -> Run | None:
    """Move a queued run to running, for this worker alone; None when it is not queued, or too late."""
    now = timezone.now()
    in_time = Run.objects.filter(Q(start_before=None) | Q(start_before__gt=now))
    claimed = in_time.move(
        run_id,
        from_status=Status.QUEUED,
        to=Status.RUNNING,
        started_at=now,
        heartbeat_at=now,
        publish_after=None,
        worker=worker,
    )
    return Run.objects.get(pk=run_id) if claimed else None


def new_recorder() -> output.OutputRecorder:
    """A recorder with the project's limit."""
    return output.OutputRecorder(settings.RUN_OUTPUT_LIMIT_BYTES)


@contextmanager
def recorded(run: Run, recorder: output.OutputRecorder, *, taken_over: bool = False) -> Iterator[None]:
    """Record how the block ends, then let its exception go on.

    A ledger that cannot be written hides no exception of the block.
    """
    token = _current.set(Execution(run=run, recorder=recorder, taken_over=taken_over))
    outcome = Outcome(status=Status.SUCCEEDED, exit_code=0)
    try:
        yield
    except BaseException as error:
        outcome = outcome_of(error, last_error_line=recorder.last_error_line)
        raise
    finally:
        _current.reset(token)
        _try_to_finish(run, recorder, outcome)


def outcome_of(error: BaseException, *, last_error_line: str = "") -> Outcome:
    """What an exception says about the run, with the exit code that ``manage.py`` would give.

    A job that wrote to stderr and then exited with a number has said there what was wrong.
    """
    match error:
        case arguments.OptionsError():
            return Outcome(status=Status.FAILED, exit_code=BAD_OPTIONS_EXIT_CODE, error=str(error))
        case CommandError():
            return Outcome(status=Status.FAILED, exit_code=error.returncode, error=str(error))
        case SystemExit():
            return _outcome_of_exit(error.code, last_error_line)
        case KeyboardInterrupt():
            return Outcome(
                status=Status.CANCELLED, exit_code=INTERRUPTED_EXIT_CODE, error="Interrupted by hand."
            )
    return Outcome(
        status=Status.FAILED,
        exit_code=1,
        error=f"{type(error).__name__}: {error}",
        traceback="".join(traceback.format_exception(error)),
    )


def _outcome_of_exit(code: Any, last_error_line: str) -> Outcome:
    """``sys.exit(code)``: None and 0 are success, a text is an error message with exit code 1."""
    if code in (None, 0):
        return Outcome(status=Status.SUCCEEDED, exit_code=0)
    if isinstance(code, int):
        reason = last_error_line or f"The job exited with code {code}."
        return Outcome(status=Status.FAILED, exit_code=code, error=reason)
    return Outcome(status=Status.FAILED, exit_code=1, error=str(code))


def _call(run: Run, recorder: output.OutputRecorder) -> None:
    job = registry.find(run.job)
    parser = job.create_parser()
    arguments.parse(parser, run.options)
    argv = arguments.to_argv(parser, run.options)
    call_command(
        job.name,
        *argv,
        stdout=output.Tee(recorder, Stream.STDOUT),
        stderr=output.Tee(recorder, Stream.STDERR),
    )


def _try_to_finish(run: Run, recorder: output.OutputRecorder, outcome: Outcome) -> None:
    try:
        _finish(run, recorder, outcome)
    except Exception:
        # The job's own exception, if any, is on its way: it must not be replaced by this one.
        logger.exception("Run %s of %s %s, but that could not be recorded", run.pk, run.job, outcome.status)


def _finish(run: Run, recorder: output.OutputRecorder, outcome: Outcome) -> None:
    with transaction.atomic():
        output.save(run.pk, run.attempt, 0, recorder.finish())
        finished = Run.objects.move(
            run.pk,
            from_status=Status.RUNNING,
            to=outcome.status,
            finished_at=timezone.now(),
            exit_code=outcome.exit_code,
            error=output.readable(outcome.error),
            traceback=output.readable(outcome.traceback),
        )
    if not finished:
        logger.error("Run %s of %s ended as %s, but was no longer running", run.pk, run.job, outcome.status)
