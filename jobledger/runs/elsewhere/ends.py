"""Records how a task has ended of which the result backend tells, in the same way as any other end."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import states
from django.db import transaction

from jobledger import clock
from jobledger.alerts import recording
from jobledger.models import Reason, Run, Status, Why
from jobledger.runs import attempts
from jobledger.runs.elsewhere import awaiting
from jobledger.runs.elsewhere.backend import Result
from jobledger.runs.ordinary_outcomes import REVOKED, of_run, outcome_of_task
from jobledger.runs.outcome import SUCCESS, Outcome

_EXPIRED = ("expired",)
"""What Celery stores of a message that has expired, as if it had been revoked."""
_OF_CELERY = {each.__name__: each for each in (WorkerLostError, TimeLimitExceeded, SoftTimeLimitExceeded)}
"""What says more of the end than any other exception."""


def record(run: Run, result: Result) -> bool:
    """End the run as the task has ended; returns False if its end is no longer awaited.

    Then a worker of this project has begun the task, or somebody else has recorded the end.
    """
    now = clock.now()
    ended_at = min(max(result.done_at or now, awaiting.sendable_at(run)), now)
    if result.state == states.REVOKED and result.error_args == _EXPIRED:
        return _expire(run, ended_at)
    with transaction.atomic():
        if not _take(run, worker=result.worker):
            return False
        outcome = of_run(run, replace(_outcome(result), ended_at=ended_at))
        return attempts.end(run, outcome, publish_now=False)


def _take(run: Run, **changes: Any) -> bool:
    """Make it a running one, for this transaction only, so that it can end. When it began is not known."""
    unended = Run.objects.filter(pk=run.pk).unended()
    awaited = unended.exclude(status=Status.RUNNING).exclude(status=Status.QUEUED, look_at=None)
    changes = {"status": Status.RUNNING, "publish_after": None, "look_at": None, **Why().columns, **changes}
    run.note(changes)
    return awaited.update(**changes) == 1


def _expire(run: Run, now: datetime) -> bool:
    with transaction.atomic():
        if not _take(run):
            return False
        ended = {"finished_at": now, **Why.of(Reason.DEADLINE).columns}
        Run.objects.move(run.pk, from_status=Status.RUNNING, to=Status.EXPIRED, **ended)
        recording.runs_ended(Run.objects.filter(pk=run.pk), now)
    return True


def _outcome(result: Result) -> Outcome:
    if result.state == states.SUCCESS:
        return SUCCESS
    if result.state == states.REVOKED:
        return REVOKED
    if (of_celery := _OF_CELERY.get(result.error_type)) and result.error_module.startswith("billiard"):
        return outcome_of_task(of_celery(*result.error_args))
    facts = {"type": result.error_type, "module": result.error_module}
    if result.error_module == "builtins":
        del facts["module"]
    return Outcome(
        status=Status.FAILED,
        why=Why.of(Reason.EXCEPTION, **facts),
        exit_code=None,
        error=": ".join(filter(None, [result.error_type, result.message])),
        traceback=result.traceback,
    )
