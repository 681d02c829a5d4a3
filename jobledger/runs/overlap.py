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
from jobledger.jobs.declaration import Concurrency
from jobledger.models import Run, SchedulePolicy, Status
from jobledger.runs.publishing import publisher
from jobledger.runs.publishing.publisher import publish_interval


class OverlapError(Exception):
    """The job is running already; the message names the run that holds it."""


@dataclass(frozen=True, kw_only=True)
class Guard:
    """What a run must not overlap with, and what happens if it would."""

    key: str
    """Empty: nothing."""
    concurrency: Concurrency
    max_queued: int


FREE = Guard(key="", concurrency=Concurrency.ALLOW, max_queued=0)


def guard_of(job_name: str, options: dict[str, Any], schedule_id: int | None) -> Guard:
    """A run's guard: the schedule's choice, or else the job's."""
    try:
        job = registry.find(job_name)
    except registry.UnknownJobError:
        return FREE
    chosen = SchedulePolicy.objects.filter(schedule=schedule_id).values_list("concurrency", flat=True).first()
    concurrency = Concurrency(chosen or job.declaration.concurrency)
    if concurrency is Concurrency.ALLOW:
        return FREE
    narrow = job.declaration.concurrency_key(options)[:100]
    key = f"{job.name}:{narrow}" if narrow else job.name
    return Guard(key=key, concurrency=concurrency, max_queued=job.declaration.max_queued)


def holder_of(key: str) -> Run | None:
    """The run that holds the key now."""
    return Run.objects.filter(concurrency_key=key, status=Status.RUNNING).first()


def describe(holder: Run | None) -> str:
    """Who holds the job, as a message says it."""
    if holder is None or holder.started_at is None:
        return "overlap: another run of the same job was still running"
    by = f"schedule {holder.schedule_name}" if holder.schedule_name else (holder.who or holder.trigger)
    started = f"{timezone.localtime(holder.started_at):%Y-%m-%d %H:%M:%S %Z}"
    return f"overlap: run {holder.short_id} of the same job was still running (started {started} by {by})"


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
    if guard.concurrency is Concurrency.FORBID or _is_full(run, guard):
        return Run.objects.move(
            run.pk,
            from_status=Status.QUEUED,
            to=Status.SKIPPED,
            finished_at=now,
            publish_after=None,
            error=describe(holder),
        )
    waiting = Run.objects.filter(pk=run.pk, status=Status.QUEUED)
    if not waiting.update(concurrency_key=guard.key, publish_after=now + publish_interval(1)):
        # The message came twice, and the holder may be this very run.
        return False
    if guard.concurrency is Concurrency.REPLACE and holder is not None:
        request_cancel(holder, f"run {run.short_id}, which replaces it", now)
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


def request_cancel(run: Run, cancelled_by: str, now: datetime) -> bool:
    """Ask for a run's end: at once when queued, at its next heartbeat when running; False when it is over."""
    cancelled_by = cancelled_by[:300]
    if Run.objects.move(
        run.pk,
        from_status=Status.QUEUED,
        to=Status.CANCELLED,
        finished_at=now,
        publish_after=None,
        cancelled_by=cancelled_by,
        error=f"Cancelled by {cancelled_by}.",
    ):
        return True
    running = Run.objects.filter(pk=run.pk, status=Status.RUNNING, cancel_requested_at=None)
    return running.update(cancel_requested_at=now, cancelled_by=cancelled_by) == 1


def _move(run: Run, guard: Guard, changes: dict[str, Any]) -> bool:
    return Run.objects.move(
        run.pk, from_status=Status.QUEUED, to=Status.RUNNING, concurrency_key=guard.key, **changes
    )


def _is_full(run: Run, guard: Guard) -> bool:
    waiting = Run.objects.filter(status=Status.QUEUED, concurrency_key=guard.key).exclude(pk=run.pk)
    return waiting.count() >= guard.max_queued
