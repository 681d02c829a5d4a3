"""Backfills: past slots of a schedule get a run each, oldest first, and at most a few at once.

``start`` stores which slots. From then on, beat looks at the backfill whenever one of its runs has ended, and
now and then in case nobody has told it: ``advance`` notes how runs have ended, and creates the next ones, in
a transaction that holds the backfill's row. So whatever dies at any time, no slot is lost, and none gets two
runs of one backfill. No other run costs a statement more.

Which job its runs start, with which options, is decided by ``start`` as well: that is what the user has seen
in the preview and may start. The queue, the limits and the concurrency policy are those that the schedule has
when a run is created.

A backfill keeps out of the way. It waits while its schedule or the whole service is paused, and while another
run of a job that must not overlap is due or running. If its run finds the job running all the same, it waits
for its turn, and lets all others go first; see ``runs.overlap``. A slot in the past is not late: the runs of
a backfill have no deadline, do not pause the schedule when they fail, and send no alerts of their own.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import Error, IntegrityError, transaction
from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger.alerts import recording
from jobledger.escapes import line_logger
from jobledger.formats import exact
from jobledger.jobs import registry
from jobledger.models import (
    FAILURES,
    LIVE,
    Backfill,
    BackfillSlot,
    Pause,
    Reason,
    Run,
    SchedulePolicy,
    Status,
    Trigger,
    Why,
)
from jobledger.runs import limits, overlap
from jobledger.runs.publishing import delivery, job_routes, wake_up
from jobledger.runs.publishing.intervals import GRACE_PERIOD
from jobledger.schedules import pausing
from jobledger.schedules.backfills import past_slots
from jobledger.schedules.backfills.past_slots import BackfillError, Decision, PastSlots
from jobledger.schedules.backfills.progress import progress_of
from jobledger.schedules.due.slot_runs import Target

logger = line_logger(__name__)

# The namespace of the ids of backfills' runs (RFC 9562, version 5).
NAMESPACE = uuid.UUID("3f0a6a53-5c56-4f0e-8d57-9a4b6f1d2c11")

LOOK_EVERY = timedelta(seconds=5)
"""How often beat looks at a backfill even if none of its runs is known to have ended."""
BATCH = 100
MAX_PARALLEL = 100
QUEUED_LOOKED_AT = 1000
"""How many queued runs are looked at to find those of a job, newest first. One that was queued long before
them starts before the backfill's next run anyway, which then waits for it."""
OTHERS_LOOKED_AT = 100
"""Of the queued runs of a job, how many are looked at to find out whether one has the same key."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a backfill is to do, and who asks for it."""

    since: datetime
    until: datetime
    """Exclusive."""
    parallel: int = 1
    includes_covered: bool = False
    """Whether slots also run for which another run stands."""
    trigger: Trigger
    username: str
    user_id: Any = None


def start(schedule: PeriodicTask, terms: Terms, *, now: datetime) -> Backfill:
    """Start a backfill of what ``past_slots`` says. Raises BackfillError if there is nothing to run."""
    found = past_slots.past_slots(
        schedule, terms.since, terms.until, now=now, includes_covered=terms.includes_covered
    )
    if not found.to_run:
        raise BackfillError("there is nothing to run: all slots of the range are left out")
    try:
        with transaction.atomic():
            return _stored(schedule, terms, found, now)
    except IntegrityError as error:
        if (other := unfinished_of(schedule)) is None:
            raise
        raise BackfillError(_in_the_way(other)) from error


def unfinished_of(schedule: PeriodicTask) -> Backfill | None:
    """The schedule's unfinished backfill, of which there is at most one."""
    return Backfill.objects.filter(schedule=schedule.pk, ended_at=None).first()


def cancel(backfill: Backfill, *, trigger: Trigger, username: str, now: datetime) -> bool:
    """Start none of the remaining slots, and cancel the runs that are queued or running.

    Returns False if it is over or was already cancelled. It has ended once its last run has.
    """
    with transaction.atomic():
        unfinished = Backfill.objects.filter(pk=backfill.pk, ended_at=None, cancelled_at=None)
        # Whoever is creating its next runs is done after this update, and whoever comes later finds it.
        if not unfinished.update(cancelled_at=now, cancelled_by=username[:200], look_at=now):
            return False
        why = Why.of(Reason.USER, user=username, trigger=trigger, comment=str(backfill))
        for run in Run.objects.filter(pk__in=_run_ids(backfill)).in_state(*LIVE):
            overlap.request_cancel(run, why, now)
        wake_up.beats()
    return True


def advance(now: datetime) -> list[Run]:
    """Look at the backfills that are due; returns their new runs, whose messages are to be published."""
    if not Backfill.objects.filter(look_at__lte=now).exists():
        return []
    with transaction.atomic():
        due = Backfill.objects.filter(look_at__lte=now).order_by("look_at")
        rows = list(due.select_for_update(skip_locked=True)[:BATCH])
        return [run for row in rows for run in _try_to_advance(row, now)]


def backfill_of(run: Run) -> Backfill | None:
    """The backfill that the run belongs to."""
    if run.trigger != Trigger.BACKFILL:
        return None
    return Backfill.objects.filter(slots__run_id=run.pk).first()


def runs_alone(schedule: PeriodicTask) -> bool:
    """Whether the schedule's runs must not overlap, so that only one at a time is started."""
    try:
        return bool(_guard(schedule, past_slots.target_of(schedule)).key)
    except overlap.NoKeyError:  # none is started
        return True


def why_waiting(backfill: Backfill, now: datetime) -> str:
    """Why its next slots do not start although fewer runs than allowed are live; empty if they do."""
    schedule = _schedule_of(backfill)
    if schedule is None:
        return "its schedule was deleted"
    job = registry.all_jobs().get(backfill.job)
    if job is None:
        return f"there is no job {backfill.job} any more"
    own = Q(schedule=schedule.pk)
    applicable = own if job.declaration.runs_while_paused else own | Q(schedule=None)
    pauses = Pause.objects.active_at(now).filter(applicable)
    if (pause := pauses.order_by("schedule", "pk").first()) is not None:
        what = "its schedule" if pause.schedule_id else "the whole service"
        return f"{what} is paused {pausing.terms_of(pause, now)}"
    if problem := delivery.why_unroutable(schedule):
        return f"schedule {schedule.name!r} is broken: {problem}"
    try:
        other = _other_run(schedule, _target_of(backfill), now)
    except overlap.NoKeyError as error:
        return str(error)
    if other is None:
        return ""
    return f"run {other.short_id} of the same job is {other.get_status_display()}"


def _stored(schedule: PeriodicTask, terms: Terms, found: PastSlots, now: datetime) -> Backfill:
    target = past_slots.target_of(schedule)
    backfill = Backfill.objects.create(
        schedule=schedule,
        schedule_name=schedule.name,
        job=target.job,
        options=target.options,
        since=terms.since,
        until=terms.until,
        parallel=terms.parallel,
        left_out=len(found.slots) - len(found.to_run),
        created_at=now,
        username=terms.username[:200],
        user_id=terms.user_id,
        trigger=terms.trigger,
        look_at=now,
    )
    slots = (BackfillSlot(backfill=backfill, scheduled_for=slot) for slot in found.to_run)
    BackfillSlot.objects.bulk_create(slots, batch_size=500)
    wake_up.beats()
    return backfill


def _in_the_way(other: Backfill) -> str:
    return (
        f"schedule {other.schedule_name!r} already has an unfinished backfill: {other.pk}, from "
        f"{exact(other.since)} to {exact(other.until)}; wait until it has ended, or cancel it"
    )


def _try_to_advance(backfill: Backfill, now: datetime) -> list[Run]:
    try:
        with transaction.atomic():
            return _advance(backfill, now)
    except Error:
        raise
    except Exception:  # beat must go on, with this one later
        logger.exception("Could not look at %s", backfill)
        Backfill.objects.filter(pk=backfill.pk).update(look_at=now + LOOK_EVERY)
        return []


def _advance(backfill: Backfill, now: datetime) -> list[Run]:
    """Bring one backfill, whose row is locked, up to date."""
    live = _note_outcomes(backfill)
    started: list[Run] = []
    schedule = None if backfill.cancelled_at else _schedule_of(backfill)
    waiting = BackfillSlot.objects.filter(backfill=backfill, run_id=None, outcome="")
    if schedule is not None and not why_waiting(backfill, now):
        started = _start_next(backfill, schedule, waiting.order_by("scheduled_for"), live, now)
    if not live and not started and (schedule is None or not waiting.exists()):
        _end(backfill, now)
    else:
        Backfill.objects.filter(pk=backfill.pk).update(look_at=now + LOOK_EVERY)
    return started


def _note_outcomes(backfill: Backfill) -> int:
    """Note which of its runs have ended, and how; returns how many have not."""
    open_slots = BackfillSlot.objects.filter(backfill=backfill, run_id__isnull=False, outcome="")
    slots = {slot.run_id: slot for slot in open_slots if slot.run_id}
    statuses = dict(Run.objects.filter(pk__in=list(slots)).values_list("pk", "status"))
    ended = []
    for run_id, slot in slots.items():
        # A run that was deleted is over, too.
        slot.outcome = statuses.get(run_id, Status.CANCELLED)
        if Status(slot.outcome).is_final:
            ended.append(slot)
    BackfillSlot.objects.bulk_update(ended, ["outcome"], batch_size=500)
    return len(slots) - len(ended)


def _start_next(
    backfill: Backfill, schedule: PeriodicTask, waiting: QuerySet[BackfillSlot], live: int, now: datetime
) -> list[Run]:
    target = _target_of(backfill)
    # Runs that must not overlap would only wait for each other.
    parallel = 1 if _guard(schedule, target).key else max(backfill.parallel, 1)
    started: list[Run] = []
    while live + len(started) < parallel and (slot := waiting.first()) is not None:
        # A user may have run it again in the meantime.
        decision = past_slots.decision_now(schedule, target, slot.scheduled_for)
        if decision is Decision.LIVE:
            break
        if decision is Decision.RUN:
            started.append(_run_of(backfill, schedule, target, slot, now))
            slot.run_id = started[-1].pk
        else:
            slot.outcome = Status.SKIPPED
        slot.save(update_fields=["run_id", "outcome"])
    return Run.objects.bulk_create(started, ignore_conflicts=True)


def _run_of(
    backfill: Backfill, schedule: PeriodicTask, target: Target, slot: BackfillSlot, now: datetime
) -> Run:
    return Run(
        id=uuid.uuid5(NAMESPACE, f"{backfill.pk}:{slot.scheduled_for.isoformat()}"),
        job=target.job,
        options=target.options,
        trigger=Trigger.BACKFILL,
        username=backfill.username,
        user_id=backfill.user_id,
        schedule=schedule,
        schedule_name=schedule.name,
        scheduled_for=slot.scheduled_for,
        routing=job_routes.completed(target.job, delivery.routing_of(schedule)),
        queued_at=now,
        publish_after=now + GRACE_PERIOD,
        **limits.of_policy(SchedulePolicy.of(schedule)),
    )


def _end(backfill: Backfill, now: datetime) -> None:
    backfill.ended_at, backfill.look_at = now, None
    backfill.save(update_fields=["ended_at", "look_at"])
    progress = progress_of([backfill])[backfill.pk]
    logger.info("%s has ended: %s", str(backfill).capitalize(), progress)
    # A worker's shutdown cancels runs, too.
    failures = BackfillSlot.objects.filter(backfill=backfill, outcome__in=(*FAILURES, Status.CANCELLED))
    if backfill.cancelled_at is None and (failed := failures.count()):
        recording.backfill_failed(
            backfill,
            now,
            run_id=failures.order_by("scheduled_for").values_list("run_id", flat=True).first(),
            failed=failed,
            total=progress.total,
        )


def _schedule_of(backfill: Backfill) -> PeriodicTask | None:
    return PeriodicTask.objects.select_related("policy").filter(pk=backfill.schedule_id).first()


def _target_of(backfill: Backfill) -> Target:
    return Target(job=backfill.job, args=[], options=backfill.options)


def _guard(schedule: PeriodicTask, target: Target) -> overlap.Guard:
    return overlap.guard_of(Run(job=target.job, options=target.options, schedule=schedule))


def _other_run(schedule: PeriodicTask, target: Target, now: datetime) -> Run | None:
    """A run outside of backfills that must not overlap with the next one, and is running or about to."""
    key = _guard(schedule, target).key
    if not key:
        return None
    others = Run.objects.exclude(trigger=Trigger.BACKFILL)
    if (running := others.filter(status=Status.RUNNING, concurrency_key=key).first()) is not None:
        return running
    newest = others.newest_startable(now).values_list("pk", "job")[:QUEUED_LOOKED_AT]
    same_job = [pk for pk, job in newest if job == target.job][:OTHERS_LOOKED_AT]
    queued = Run.objects.filter(pk__in=same_job).in_state(Status.QUEUED).select_related("schedule__policy")
    return next((run for run in queued if _has_key(run, key)), None) if same_job else None


def _has_key(run: Run, key: str) -> bool:
    try:
        return overlap.guard_of(run).key == key
    except overlap.NoKeyError:  # it is going to fail
        return False


def _run_ids(backfill: Backfill) -> Sequence[uuid.UUID]:
    slots = BackfillSlot.objects.filter(backfill=backfill, outcome="")
    return [slot.run_id for slot in slots.filter(run_id__isnull=False) if slot.run_id]
