"""Outcomes of ordinary Celery tasks, whoever tells of them: Celery's signals, or its result backend."""

from dataclasses import replace

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

from jobledger.jobs import secrets
from jobledger.models import Reason, Run, Status, Trigger, Why
from jobledger.runs import limits
from jobledger.runs.outcome import Outcome, outcome_of, text_of

REVOKED = Outcome(
    status=Status.CANCELLED,
    why=Why.of(Reason.USER, trigger=Trigger.CELERY, comment="celery control revoke"),
    exit_code=None,
)
"""Of a task whose message was revoked, or whose process was killed for that."""


def outcome_of_task(error: BaseException) -> Outcome:
    """The outcome of a task that has raised the exception, or whose process has died."""
    found = outcome_of(error)
    match error:
        case WorkerLostError():
            why = Why.of(Reason.LOST_PROCESS)
            return Outcome(status=Status.LOST, why=why, exit_code=None, error=text_of(error))
        case SoftTimeLimitExceeded() | TimeLimitExceeded():
            seconds = next((each for each in error.args if isinstance(each, int | float)), None)
            why = Why.of(Reason.TIME_LIMIT, limit_seconds=seconds)
            return replace(found, status=Status.TIMED_OUT, why=why, exit_code=None, error="")
    return replace(found, exit_code=None)


def of_run(run: Run, outcome: Outcome) -> Outcome:
    """Without the run's secrets, and with what the run knows of it."""
    masked = (
        secrets.without_secrets(run.job, run.options, text, args=run.args)
        for text in (outcome.error, outcome.traceback)
    )
    error, traceback = masked
    why = outcome.why
    if why.reason is Reason.TIME_LIMIT and run.time_limit is not None:
        why = limits.of_run(run).exceeded()
    if why.reason is Reason.LOST_PROCESS:
        why = why.plus(worker=run.worker)
    return replace(outcome, error=error, traceback=traceback, why=why)
