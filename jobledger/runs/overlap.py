"""Overlap: what happens when a job is to start while it is running.

The guard is a partial unique index over running rows, on ``concurrency_key``. So a lock is a running row: it
cannot outlive its run, and it holds for every way to start a job.
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
    """Empty: nothing."""
    concurrency: Concurrency
    max_queued: int


FREE = Guard(key="", concurrency=Concurrency.ALLOW, max_queued=0)


def guard_of(run: Run) -> Guard:
    """A run's guard: the schedule's choice, or else the job's."""
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
    """Settle a queued run whose key is held: skipped, or waiting for the holder's end.

    False when it is not queued any more: somebody else has it.
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
        # The message came twice, and the holder may be this very run.
        return False
    if guard.concurrency is Concurrency.REPLACE and holder is not None:
        request_cancel(holder, Why.of(Reason.SUPERSEDED, run=run.pk), now)
    if holder_of(guard.key) is None:  # it ended in between, and did not know of this one
        wake(guard.key)
    return True


def wake(key: str, *, at_once: bool = True) -> None:
    """Publish the run that has waited longest for this key; or leave it to beat's next tick.

    Beat also does it where this process does not come to it, because it dies or the broker is down.
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
    """Ask for a run's end: at once when queued, at its next heartbeat when running; False when it is over.

    A running run keeps the reason from now on: its process reads it with the request.
    """
    if _end_queued(run, Status.CANCELLED, why, now):
        return True
    running = Run.objects.filter(pk=run.pk, status=Status.RUNNING, cancel_requested_at=None)
    return running.update(cancel_requested_at=now, **why.columns) == 1


def _move(run: Run, guard: Guard, changes: dict[str, Any]) -> bool:
    # Why it waited is over; from now on a reason says why its end was asked for.
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
