"""Attempts: whether a run that did not succeed ends, or is retried.

Retries need no machinery of their own: the run is queued again with a later ``start_after``, and the attempt
that ended is recorded in a row of its own.

An accepted cancel is final: unless it succeeds anyway, the run ends as cancelled, whatever ended it, and is
not retried. So the update that queues another attempt leaves cancelled runs alone.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, TypeVar
from uuid import UUID

from django.core.management import CommandError
from django.db import Error, transaction
from django.db.models import DateTimeField, F, IntegerField, Q, QuerySet, UUIDField
from django.db.models.expressions import Combinable

from jobledger import clock, compiled
from jobledger.alerts import recording
from jobledger.compiled import Given
from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.jobs.declaration import JobDeclaration
from jobledger.jobs.json_text import readable
from jobledger.models import CANCEL_ACCEPTED, Backfill, Reason, Run, RunAttempt, Status, Trigger, Why
from jobledger.runs import overlap, run_lines
from jobledger.runs.outcome import Outcome
from jobledger.runs.publishing import wake_up
from jobledger.sentry import doubles, reports
from jobledger.tracing import spans

logger = line_logger(__name__)
Judged = TypeVar("Judged")

MAX_BACKOFF = timedelta(hours=1)
SENT_BY_CELERY = timedelta(minutes=1)
"""When it is first looked whether a worker has begun the attempt."""
# So that a job that kills its process every time is not restarted forever.
MAX_RESTARTS = 3
_DEATHS = (Reason.OUT_OF_MEMORY, Reason.SIGNAL)
"""Of its process; besides the reasons for which a run is lost."""

# Not the job's fault: worth retrying whatever ``retry_on`` says.
TRANSIENT_ERRORS = (Error, ConnectionError, TimeoutError)


def end(run: Run, outcome: Outcome, *, publish_now: bool = True) -> bool:
    """Record how the attempt ended, and queue the next one, if any.

    A run that waits for this one to finish is published, now or at beat's next tick. Returns False if the
    attempt was no longer running.
    """
    ended = _end(run, outcome, publish_now=publish_now)
    if ended and run.trigger == Trigger.BACKFILL:
        # Not in the transaction in which it ends: whoever cancels a backfill locks it before its runs.
        transaction.on_commit(partial(_continue_backfill, run.pk), robust=True)
    return ended


def is_on_record(run: Run, outcome: Outcome) -> bool:
    """Whether this end of the attempt was recorded by an earlier ``end`` that the database has not answered.

    Then whoever waits for the run is woken, in case it was not.
    """
    ours = {"status": outcome.status, "worker": run.worker, "attempt": run.attempt}
    if not (Run.objects.filter(pk=run.pk, **ours).exists() or run.attempts.filter(**ours).exists()):
        return False
    overlap.wake(run.concurrency_key)
    return True


def queue_again(run: Run, outcome: Outcome, at: datetime) -> bool:
    """Record that Celery itself has sent the message of the next attempt, which this service never does."""
    with transaction.atomic():
        return _queue_again(_owned(run), run, outcome, at, publish_after=at + SENT_BY_CELERY, publish_count=1)


def _end(run: Run, outcome: Outcome, *, publish_now: bool) -> bool:
    if _succeed_quietly(run, outcome):
        overlap.wake(run.concurrency_key, at_once=publish_now)
        return True
    with transaction.atomic():
        ended = _end_as_cancelled(run, outcome) or _end_uncancelled(run, outcome)
        # The run may have been cancelled between the two.
        ended = ended or _end_as_cancelled(run, outcome)
        if ended:
            overlap.wake(run.concurrency_key, at_once=publish_now)
    return ended


def _continue_backfill(run_id: UUID) -> None:
    """Have beat start the next run of the backfill now. If this is lost, beat looks a little later."""
    backfill = Backfill.objects.filter(slots__run_id=run_id, ended_at=None)
    if backfill.update(look_at=clock.in_statement()):
        wake_up.beats()


def _succeed_quietly(run: Run, outcome: Outcome) -> bool:
    """Record a success of which nobody is to hear, as nearly all are, by a single statement.

    Returns False if there may be something to tell, which must be recorded in the same transaction.
    """
    if outcome.status is not Status.SUCCEEDED or reports.is_monitored(run):
        return False
    changes = _final_columns(outcome, clock.in_statement())
    began_since = recording.never_slow_since(run.job)
    if not _success(*changes).execute(pk=run.pk, number=run.attempt, began_since=began_since, **changes):
        return False
    run.note(changes)
    spans.attempt_ended(run, outcome)
    run_lines.ended(run, outcome)
    return True


@cache
def _success(*columns: str) -> compiled.Update[Run]:
    """The update of a run of whose success nobody is to hear."""

    def update() -> tuple[QuerySet[Run], dict[str, Given]]:
        is_silent = recording.is_silent_success(Given("began_since", DateTimeField()))
        given = {"pk": Given("pk", UUIDField()), "attempt": Given("number", IntegerField())}
        running = Run.objects.filter(is_silent, **given).in_state(Status.RUNNING)
        return running, {name: Given.of(Run, name) for name in columns}

    return compiled.Update(Run, update)


def _end_uncancelled(run: Run, outcome: Outcome) -> bool:
    if outcome.status is Status.SUCCEEDED:
        return _finish(_owned(run), run, outcome)
    uncancelled = _owned(run).exclude(CANCEL_ACCEPTED)
    again_at = next_attempt_at(run, outcome)
    if again_at is None:
        return _finish(uncancelled, run, outcome)
    return _queue_again(uncancelled, run, outcome, again_at)


def _end_as_cancelled(run: Run, outcome: Outcome) -> bool:
    """Record the cancel as the reason, and keep the attempt's own error."""
    if outcome.status is Status.SUCCEEDED or (why := _accepted_cancel(run)) is None:
        return False
    why = why.plus(killed_by=outcome.why.details.get("killed_by"))
    return _finish(_owned(run), run, replace(outcome, status=Status.CANCELLED, why=why))


def _accepted_cancel(run: Run) -> Why | None:
    """Why this run, or one of its ancestors, was cancelled; None if it was not."""
    pk: UUID | None = run.pk
    while pk is not None:
        found = Run.objects.filter(pk=pk)
        cancelled = found.filter(CANCEL_ACCEPTED).values_list("reason", "reason_details").first()
        if cancelled is not None:
            return Why.read(*cancelled)
        pk = found.values_list("parent", flat=True).first()
    return None


def next_attempt_at(run: Run, outcome: Outcome) -> datetime | None:
    """When the run's next attempt starts; None if this was the last one."""
    return _unless_invalid(run, partial(_next_attempt_at, run, outcome))


def may_be_retried(run: Run, outcome: Outcome) -> bool:
    """Whether another attempt may have another outcome, as its job declares."""
    judge = partial(is_worth_retrying, registry.declaration_of(run.job), outcome)
    return bool(_unless_invalid(run, judge))


def _unless_invalid(run: Run, judge: Callable[[], Judged]) -> Judged | None:
    """None if what the job declares is invalid, which must not keep the end of a run from being recorded."""
    try:
        return judge()
    except Error:
        raise
    except Exception:
        logger.exception(
            "Run %s of %s is not retried: its job declares retries that are invalid", run.pk, run.job
        )
        return None


def _next_attempt_at(run: Run, outcome: Outcome) -> datetime | None:
    job = registry.all_jobs().get(run.job)
    # A failure on the command line or in another job is seen and handled by the caller. As long as cron is in
    # charge, nobody else starts what it starts.
    if job is None or run.trigger in (Trigger.CLI, Trigger.JOB, Trigger.CRON):
        return None
    declared = job.declaration
    if _has_died(outcome):
        return clock.now() if declared.restart_when_lost and _deaths(run) < MAX_RESTARTS else None
    match outcome.status:
        case Status.FAILED | Status.TIMED_OUT if run.attempt <= declared.max_retries:
            return (
                clock.now() + backoff(declared, run.attempt) if is_worth_retrying(declared, outcome) else None
            )
        case Status.CANCELLED if declared.restart_when_lost and outcome.is_worker_shutdown:
            return clock.now()
    return None


def _has_died(outcome: Outcome) -> bool:
    """Whether the job's process died, without an end that the job or the service has chosen."""
    return outcome.status is Status.LOST or outcome.why.reason in _DEATHS


def _deaths(run: Run) -> int:
    """How many of its earlier attempts have died. Those that their worker's shutdown ended do not count."""
    died = Q(status=Status.LOST) | Q(reason__in=_DEATHS)
    return run.attempts.filter(died).count()


def backoff(declared: type[JobDeclaration], attempt: int) -> timedelta:
    """The delay after this attempt: doubles each time, up to an hour, plus or minus 10% to spread retries."""
    first = min(declared.retry_backoff, MAX_BACKOFF)
    delay = min(first * (1 << min(attempt - 1, 20)), MAX_BACKOFF)
    return delay * random.uniform(0.9, 1.1)  # noqa: S311 - not security-sensitive


def is_worth_retrying(declared: type[JobDeclaration], outcome: Outcome) -> bool:
    """Whether another attempt may have another outcome, judging by how this one ended."""
    if outcome.is_worth_retrying is not None:
        return outcome.is_worth_retrying
    if outcome.status is Status.TIMED_OUT or isinstance(outcome.cause, TRANSIENT_ERRORS):
        return True
    if declared.retry_on is not None:
        return isinstance(outcome.cause, declared.retry_on)
    # With bad options or after a CommandError, another attempt would only fail in the same way.
    return (
        isinstance(outcome.cause, Exception)
        and bool(outcome.traceback)
        and not isinstance(outcome.cause, CommandError)
    )


def _owned(run: Run) -> QuerySet[Run]:
    return Run.objects.filter(pk=run.pk, attempt=run.attempt).in_state(Status.RUNNING)


def _finish(running: QuerySet[Run], run: Run, outcome: Outcome) -> bool:
    now = clock.now()
    # The trace and the log say the same as the row.
    outcome = replace(outcome, ended_at=outcome.ended_at or now)
    finished = running.update(**_final_columns(outcome, now))
    if finished:
        recording.run_ended(run, outcome.status, now)
        doubles.note(outcome)
        spans.attempt_ended(run, outcome)
        run_lines.ended(run, outcome)
    return finished == 1


def _final_columns(outcome: Outcome, now: datetime | Combinable) -> dict[str, Any]:
    # A run that succeeds although it was cancelled keeps the reason of the cancel.
    why = {} if outcome.status is Status.SUCCEEDED else outcome.why.columns
    return {
        "status": outcome.status,
        "finished_at": outcome.ended_at or now,
        "heartbeat_at": None,
        "exit_code": outcome.exit_code,
        "error": readable(outcome.error),
        "traceback": readable(outcome.traceback),
        **outcome.resource_columns,
        **why,
    }


def _queue_again(
    running: QuerySet[Run],
    run: Run,
    outcome: Outcome,
    at: datetime,
    *,
    publish_after: datetime | None = None,
    publish_count: int = 0,
) -> bool:
    why = Why.of(Reason.RETRY, attempt=run.attempt, status=outcome.status, reason=outcome.why.reason)
    # As of its last heartbeat.
    used: dict[str, Any] = dict(running.values("peak_memory_bytes", "cpu_seconds").first() or {})
    ended = running.update(
        status=Status.QUEUED,
        **why.columns,
        attempt=F("attempt") + 1,
        publish_after=publish_after or at,
        publish_count=publish_count,
        deaths_before_start=0,
        start_after=at,
        start_before=None,
        started_at=None,
        heartbeat_at=None,
        worker="",
        worker_identity="",
        concurrency_key="",
        cancel_requested_at=None,
        progress_done=None,
        progress_total=None,
        peak_memory_bytes=None,
        cpu_seconds=None,
    )
    if ended:
        ended_at = outcome.ended_at or clock.now()
        outcome = replace(outcome, ended_at=ended_at)
        RunAttempt.objects.create(
            run=run,
            attempt=run.attempt,
            status=outcome.status,
            started_at=run.started_at,
            finished_at=ended_at,
            worker=run.worker,
            exit_code=outcome.exit_code,
            error=readable(outcome.error),
            traceback=readable(outcome.traceback),
            **{**used, **outcome.resource_columns},
            **outcome.why.columns,
        )
        spans.attempt_ended(run, outcome)
        wake_up.beats()
        run_lines.ended(run, outcome, again_at=at)
    return ended == 1
