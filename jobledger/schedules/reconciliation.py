"""Keeps ``NextSlot`` and ``SchedulePolicy`` in step with the schedules, whoever changes them.

Signals follow every save and delete at once, in the transaction that makes the change. ``Reconciliation``
finds what sends no signal (``update()``, SQL, fixtures, migrations) by letting the database compare each
schedule's ``timing`` and ``target`` with what was kept.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from django.db.models import F, Q, QuerySet
from django.db.models.signals import post_delete, post_save
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobledger.models import NextSlot, Pause, SchedulePolicy
from jobledger.schedules import ledger, slot_runs, stored_schedules

SLICE = 5000
PASS_EVERY_SECONDS = 15.0

TIMES = {
    CrontabSchedule: "crontab",
    IntervalSchedule: "interval",
    SolarSchedule: "solar",
    ClockedSchedule: "clocked",
}


def connect() -> None:
    """Follow every save and delete from now on."""
    post_save.connect(_schedule_saved, PeriodicTask, dispatch_uid="jobledger.reconciliation.schedule")
    for model in TIMES:
        post_save.connect(_times_saved, model, dispatch_uid="jobledger.reconciliation.times")
    post_save.connect(_policy_saved, SchedulePolicy, dispatch_uid="jobledger.reconciliation.policy")
    for signal in post_save, post_delete:
        signal.connect(_pause_changed, Pause, dispatch_uid="jobledger.reconciliation.pause")


def look_again(schedule_ids: Collection[int] | None, now: datetime) -> None:
    """Let beat look at slots of these schedules, or of all, that have passed while a pause held them."""
    held = NextSlot.objects.filter(broken="", slot__lte=now)
    if schedule_ids is not None:
        held = held.filter(schedule__in=schedule_ids)
    held.update(due_at=now)


class Reconciliation:
    """Passes over all schedules, a slice at a time, so that no tick waits for a whole pass."""

    def __init__(self) -> None:
        """Start at once, before the first schedule."""
        self._after_pk = 0
        self._next_pass_at = 0.0

    def keep_up(self, seconds: float) -> None:
        """Do the next slice of a pass. Passes begin every so often, or when the last one is complete.

        ``seconds`` are those of a clock that is never set.
        """
        if not self._after_pk:
            if seconds < self._next_pass_at:
                return
            self._next_pass_at = seconds + PASS_EVERY_SECONDS
        self.step()

    def step(self) -> bool:
        """Follow what has changed in the next slice; returns whether the pass is complete."""
        schedules = PeriodicTask.objects.filter(pk__gt=self._after_pk).order_by("pk")
        last = schedules.values_list("pk", flat=True)[SLICE - 1 : SLICE].first()
        slice_ = schedules if last is None else schedules.filter(pk__lte=last)
        if changed := list(_changed(slice_).values_list("pk", flat=True)):
            ledger.follow(changed, timezone.now())
        self._after_pk = last or 0
        return last is None


def _changed(schedules: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
    """Those whose row is missing, stale, broken or no longer wanted, or whose task is gone."""
    is_off = Q(enabled=False, next_slot__isnull=False)
    is_same = Q(next_slot__timing=F("timing"), next_slot__target=F("target"), next_slot__broken="")
    is_stale = Q(next_slot__isnull=True) | ~is_same | Q(task__in=_vanished(schedules)) | Q(policy=None)
    annotated: QuerySet[PeriodicTask] = schedules.annotate(
        timing=stored_schedules.TIMING, target=stored_schedules.TARGET
    )
    return annotated.filter(is_off | Q(enabled=True) & is_stale)


def _vanished(schedules: QuerySet[PeriodicTask]) -> list[str]:
    """Tasks that existed when their schedules were validated; the code may have changed since."""
    tasks = schedules.filter(enabled=True).order_by().values_list("task", flat=True).distinct()
    return [task for task in tasks if slot_runs.is_gone(task)]


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
