"""Overlap: what happens when a job should start while it is still running.

A partial unique index on ``concurrency_key`` over running rows is the guard. So the lock is the running row
itself: it cannot outlive its run, and it holds however the job was started.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, JobDeclaration
from jobledger.models import NO_REASON, Reason, Run, SchedulePolicy, Status, Why
from jobledger.runs.publishing import publisher
from jobledger.runs.publishing.publisher import publish_interval


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


def take(run: Run, guard: Guard, **changes: Any) -> bool:
    """Move the queued run to running if nobody holds its key; False when somebody does."""
    try:
        with transaction.atomic():
            return _move(run, guard, changes)
    except IntegrityError:
        return False


def stand_back(run: Run, guard: Guard, now: datetime) -> bool:
    """Skip a queued run whose key is held, or have it wait until the holder has ended.

    Returns False if the run is no longer queued, because another process has taken it.
    """
    holder = holder_of(guard.key)
    if guard.concurrency is Concurrency.FORBID:
        return _end_queued(run, Status.SKIPPED, held_by(holder), now)
    if _is_full(run, guard):
        full = held_by(holder, Reason.QUEUE_FULL, max_queued=guard.max_queued)
        return _end_queued(run, Status.SKIPPED, full, now)
    waiting = Run.objects.filter(pk=run.pk, status=Status.QUEUED)
    again_at = now + publish_interval(1)
    if not waiting.update(concurrency_key=guard.key, publish_after=again_at, **held_by(holder).columns):
        # The message was delivered twice, and the holder may be this very run.
        return False
    if guard.concurrency is Concurrency.REPLACE and holder is not None:
        request_cancel(holder, Why.of(Reason.SUPERSEDED, run=run.pk), now)
    if holder_of(guard.key) is None:  # it ended in the meantime, unaware of this one
        wake(guard.key)
    return True


def wake(key: str, *, at_once: bool = True) -> None:
    """Publish the run that has waited longest for this key, at once or at beat's next tick.

    If this process dies first, or the broker is down, beat does it as well.
    """
    if not key:
        return
    queued = Run.objects.filter(status=Status.QUEUED, concurrency_key=key)
    longest = queued.select_related("schedule").order_by("queued_at", "pk").first()
    if longest is None:
        return
    grace = publisher.GRACE_OF_THE_RECORDER if at_once else timedelta(0)
    longest.publish_after = timezone.now() + grace
    queued.filter(pk=longest.pk).update(publish_after=longest.publish_after)
    if at_once:
        transaction.on_commit(lambda: publisher.try_to_publish([longest]))


def request_cancel(run: Run, why: Why, now: datetime) -> bool:
    """Cancel a queued run at once, or ask a running one to end, which it does at its next heartbeat.

    A running run keeps the reason until it ends: its process reads it together with the request. Returns
    False if the run is over, or was asked before.
    """
    if _end_queued(run, Status.CANCELLED, why, now):
        return True
    running = Run.objects.filter(pk=run.pk, status=Status.RUNNING, cancel_requested_at=None)
    return running.update(cancel_requested_at=now, **why.columns) == 1


def _move(run: Run, guard: Guard, changes: dict[str, Any]) -> bool:
    # Why it was queued does not matter any more; a running run's reason is that of a request to end.
    changes = {**changes, **NO_REASON.columns}
    return Run.objects.move(
        run.pk, from_status=Status.QUEUED, to=Status.RUNNING, concurrency_key=guard.key, **changes
    )


def _end_queued(run: Run, to: Status, why: Why, now: datetime) -> bool:
    changes = {"finished_at": now, "publish_after": None, **why.columns}
    return Run.objects.move(run.pk, from_status=Status.QUEUED, to=to, **changes)


def _is_full(run: Run, guard: Guard) -> bool:
    waiting = Run.objects.filter(status=Status.QUEUED, concurrency_key=guard.key).exclude(pk=run.pk)
    return waiting.count() >= guard.max_queued
