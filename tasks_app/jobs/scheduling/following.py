"""Keeps ``NextSlot`` and ``SchedulePolicy`` in step with the schedules, whoever changes them.

Signals follow every save and delete at once, in the transaction that makes the change. ``Reconciliation``
finds what sends no signal (``update()``, SQL, fixtures, migrations) by letting the database compare each
schedule's ``timing`` with the one that was kept, and by judging what each would start.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.signals import post_delete, post_save, pre_save
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from tasks_app.jobs.models import NextSlot, Pause, SchedulePolicy
from tasks_app.jobs.scheduling import ledger, slot_runs, timing

SLICE = 5000

TIMES = {
    CrontabSchedule: "crontab",
    IntervalSchedule: "interval",
    SolarSchedule: "solar",
    ClockedSchedule: "clocked",
}


def connect() -> None:
    """Follow every save and delete from now on."""
    pre_save.connect(_keep_last_run_at, PeriodicTask, dispatch_uid="jobs.following.keep")
    post_save.connect(_schedule_saved, PeriodicTask, dispatch_uid="jobs.following.schedule")
    for model in TIMES:
        post_save.connect(_times_saved, model, dispatch_uid="jobs.following.times")
    post_save.connect(_policy_saved, SchedulePolicy, dispatch_uid="jobs.following.policy")
    for signal in post_save, post_delete:
        signal.connect(_pause_changed, Pause, dispatch_uid="jobs.following.pause")


def look_again(schedule_ids: Collection[int] | None, now: datetime) -> None:
    """Let beat look at slots of these schedules, or of all, that have passed while a pause held them."""
    held = NextSlot.objects.filter(broken="", slot__lte=now)
    if schedule_ids is not None:
        held = held.filter(schedule__in=schedule_ids)
    held.update(due_at=now)


class Reconciliation:
    """Passes over all schedules, a slice at a time, so that no tick waits for a whole pass."""

    def __init__(self) -> None:
        """Start before the first schedule."""
        self._after_pk = 0
        # What was found good, in the last pass and in this one: a process knows the same tasks all its life.
        self._good: set[int] = set()
        self._good_by_now: set[int] = set()

    def step(self) -> bool:
        """Follow what has changed in the next slice; returns whether the pass is complete."""
        schedules = PeriodicTask.objects.filter(pk__gt=self._after_pk).order_by("pk")
        last = schedules.values_list("pk", flat=True)[SLICE - 1 : SLICE].first()
        slice_ = schedules if last is None else schedules.filter(pk__lte=last)
        if changed := {*_changed(slice_).values_list("pk", flat=True), *self._spoilt(slice_)}:
            ledger.follow(changed, timezone.now())
        self._after_pk = last or 0
        if last is None:
            self._good, self._good_by_now = self._good_by_now, set()
        return last is None

    def _spoilt(self, schedules: QuerySet[PeriodicTask]) -> Iterator[int]:
        """Those that can start nothing any more, and are not known as broken; each kind is judged once."""
        sound = schedules.filter(enabled=True, next_slot__broken="")
        for pk, task, args, kwargs in sound.values_list("pk", "task", "args", "kwargs"):
            kind = hash((task, args, kwargs))
            if kind in self._good or kind in self._good_by_now or not _why_broken(task, args, kwargs):
                self._good_by_now.add(kind)
            else:
                yield pk


def _changed(schedules: Any) -> Any:
    """Those whose row is missing, stale, broken or no longer wanted."""
    is_off = Q(enabled=False, next_slot__isnull=False)
    is_stale = Q(next_slot__isnull=True) | ~Q(next_slot__timing=F("timing")) | ~Q(next_slot__broken="")
    return schedules.annotate(timing=timing.TIMING).filter(
        is_off | Q(enabled=True) & (is_stale | Q(policy=None))
    )


def _why_broken(task: str, args: str, kwargs: str) -> str:
    return slot_runs.why_broken(PeriodicTask(task=task, args=args, kwargs=kwargs))


def _keep_last_run_at(sender: Any, instance: PeriodicTask, *, raw: bool = False, **kwargs: Any) -> None:
    """django-celery-beat forgets when a schedule last ran as soon as it is switched off."""
    if raw or instance.enabled or instance.pk is None or instance.last_run_at is not None:
        return
    stored = PeriodicTask.objects.filter(pk=instance.pk).values_list("last_run_at", flat=True)
    instance.last_run_at = stored.first()


def _schedule_saved(sender: Any, instance: PeriodicTask, *, raw: bool = False, **kwargs: Any) -> None:
    if raw:  # a fixture: what it refers to may not be there yet
        return
    SchedulePolicy.objects.get_or_create(schedule=instance)
    ledger.follow([instance.pk], timezone.now())


def _times_saved(
    sender: Any, instance: Any, *, raw: bool = False, created: bool = False, **kwargs: Any
) -> None:
    if raw or created:
        return
    users = PeriodicTask.objects.filter(**{TIMES[sender]: instance}, enabled=True)
    ledger.follow(list(users.values_list("pk", flat=True)), timezone.now())


def _policy_saved(
    sender: Any, instance: SchedulePolicy, *, raw: bool = False, created: bool = False, **kwargs: Any
) -> None:
    if not (raw or created):
        ledger.follow([instance.pk], timezone.now())


def _pause_changed(sender: Any, instance: Pause, *, raw: bool = False, **kwargs: Any) -> None:
    """Beat looks again at what the pause may hold: slots in the past that have not been recorded."""
    if not raw:
        look_again(None if instance.schedule_id is None else [instance.schedule_id], timezone.now())
