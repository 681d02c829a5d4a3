"""Overlap: what happens when a job should start while it is still running.

A partial unique index on ``concurrency_key`` over running rows is the guard. So the lock is the running row
itself: it cannot outlive its run, and it holds however the job was started. The runs that wait for it are
counted under the lock of that row.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Case, F, Q, Value, When

from jobledger import clock
from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, JobDeclaration
from jobledger.models import CANCEL_ACCEPTED, LIVE, NO_REASON, Reason, Run, SchedulePolicy, Status, Why
from jobledger.runs.publishing import publisher
from jobledger.runs.publishing.publisher import publish_interval

MAX_TRIES = 5
"""Of a run whose job is free at one moment and held at the next; then its message comes again."""


class OverlapError(Exception):
    """The job is running already; ``why`` names the run that holds it."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What a run must not overlap with, and what happens if it would."""

    key: str
    """Empty: it may overlap with anything."""
    concurrency: Concurrency
    max_queued: int


FREE = Guard(key="", concurrency=Concurrency.ALLOW, max_queued=0)


def guard_of(run: Run) -> Guard:
    """The run's guard: as its schedule says, or else its job."""
    job = registry.all_jobs().get(run.job)
    if job is None:
        return FREE
    policies = SchedulePolicy.objects.filter(schedule=run.schedule_id)
    chosen = policies.values_list("concurrency", flat=True).first()
    return declared_guard(run.job, job.declaration, run.options, chosen)


def declared_guard(
    name: str, declared: type[JobDeclaration], options: dict[str, Any], chosen: str | None = None
) -> Guard:
    """The guard of a job with these options; a ``chosen`` policy overrides the one that the job declares."""
    concurrency = Concurrency(chosen or declared.concurrency)
    if concurrency is Concurrency.ALLOW:
        return FREE
    narrow = declared.concurrency_key(options)[:100]
    key = f"{name}:{narrow}" if narrow else name
    return Guard(key=key, concurrency=concurrency, max_queued=declared.max_queued)


def holder_of(key: str) -> Run | None:
    """The run that holds the key now."""
    return Run.objects.filter(concurrency_key=key, status=Status.RUNNING).first()


def held_by(holder: Run | None, reason: Reason = Reason.OVERLAP, **facts: Any) -> Why:
    """The reason of a run that cannot start because of the holder; it may have ended meanwhile."""
    if holder is None:
        return Why.of(reason, **facts)
    return Why.of(
        reason,
        run=holder.pk,
        job=holder.job,
        started_at=holder.started_at,
        trigger=holder.trigger,
        user=holder.who,
        schedule=holder.schedule_name,
        **facts,
    )


def start(run: Run, guard: Guard, now: datetime, **changes: Any) -> bool:
    """Move the queued run to running; while another one holds its key, skip it or have it wait.

    The run is then as this call left it. Returns False if it may not be started, because it is over, another
    process has taken it, or its time has not come. Of any number of calls at once one takes the run.
    """
    for _ in range(MAX_TRIES):
        try:
            with transaction.atomic():
                return _take(run, guard, now, changes)
        except IntegrityError:
            if not guard.key:
                raise
        with transaction.atomic():
            if (holder := _locked_holder(guard.key)) is not None:
                return _yield_to_holder(run, guard, holder, now)
        # The holder has ended in the meantime.
    return False


def wake(key: str, *, at_once: bool = True) -> None:
    """Publish the run that has waited longest for this key, at once or at beat's next tick.

    For the transaction in which the holder ends. If this process dies first, or the broker is down, beat does
    it as well. A run that is locked is being claimed: that claim waits for this transaction, and not this one
    for it.
    """
    if not key:
        return
    queued = Run.objects.filter(status=Status.QUEUED, concurrency_key=key)
    unlocked = queued.select_for_update(skip_locked=True, of=("self",))
    longest = unlocked.select_related("schedule").order_by("queued_at", "pk").first()
    if longest is None:
        return
    grace = publisher.RECORDER_GRACE_PERIOD if at_once else timedelta(0)
    longest.publish_after = clock.now() + grace
    queued.filter(pk=longest.pk).update(publish_after=longest.publish_after)
    if at_once:
        transaction.on_commit(lambda: publisher.try_to_publish([longest]))


def request_cancel(run: Run, why: Why, now: datetime) -> bool:
    """Cancel a queued run at once, or ask a running one to end, which it does at its next heartbeat.

    One statement, because the run may be claimed, or queued again, at any time. A running run keeps the
    reason until it ends: its process reads it together with the request. Returns False if the run is over, or
    was cancelled before; a request by its worker's shutdown, after which it may start again, is overridden.
    """
    is_queued = Q(status=Status.QUEUED)
    is_asked = Q(status=Status.RUNNING) & CANCEL_ACCEPTED
    cancelled = Run.objects.filter(pk=run.pk, status__in=LIVE).exclude(is_asked)
    return (
        cancelled.update(
            status=Case(When(is_queued, then=Value(Status.CANCELLED.value)), default=F("status")),
            finished_at=Case(When(is_queued, then=Value(now)), default=F("finished_at")),
            publish_after=Case(When(is_queued, then=None), default=F("publish_after")),
            cancel_requested_at=Case(When(is_queued, then=None), default=Value(now)),
            **why.columns,
        )
        == 1
    )


def _take(run: Run, guard: Guard, now: datetime, changes: dict[str, Any]) -> bool:
    # Why it was queued does not matter any more; a running run's reason is that of a request to end.
    changes = {**changes, "concurrency_key": guard.key, **NO_REASON.columns}
    if Run.objects.startable(now).filter(pk=run.pk).update(status=Status.RUNNING, **changes) != 1:
        return False
    run.refresh_from_db()
    return True


def _locked_holder(key: str) -> Run | None:
    """The run that holds the key. It ends, and others stand back from it, after this transaction."""
    holder = holder_of(key)
    if holder is None:
        return None
    # Whatever the database, an update that changes nothing takes the row's lock.
    running = Run.objects.filter(pk=holder.pk, status=Status.RUNNING, concurrency_key=key)
    return holder if running.update(heartbeat_at=F("heartbeat_at")) else None


def _yield_to_holder(run: Run, guard: Guard, holder: Run, now: datetime) -> bool:
    """Skip the run, or have it wait until the holder has ended."""
    # Not a later attempt, which another delivery of the message may have brought about.
    mine = Run.objects.filter(pk=run.pk, status=Status.QUEUED, attempt=run.attempt)
    if guard.concurrency is Concurrency.FORBID:
        stood_back = mine.update(**_skipped(held_by(holder), now))
    elif _is_full(run, guard):
        full = held_by(holder, Reason.QUEUE_FULL, max_queued=guard.max_queued)
        stood_back = mine.update(**_skipped(full, now))
    else:
        again_at = now + publish_interval(1)
        waiting = {"concurrency_key": guard.key, "publish_after": again_at, **held_by(holder).columns}
        stood_back = mine.update(**waiting)
        if stood_back and guard.concurrency is Concurrency.REPLACE:
            request_cancel(holder, Why.of(Reason.SUPERSEDED, run=run.pk), now)
    if stood_back:
        run.refresh_from_db()
    return stood_back == 1


def _skipped(why: Why, now: datetime) -> dict[str, Any]:
    return {"status": Status.SKIPPED, "finished_at": now, "publish_after": None, **why.columns}


def _is_full(run: Run, guard: Guard) -> bool:
    waiting = Run.objects.filter(status=Status.QUEUED, concurrency_key=guard.key).exclude(pk=run.pk)
    return waiting.count() >= guard.max_queued
