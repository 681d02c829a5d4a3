"""Connects what reacts to edits of schedules. It is imported at the first edit: few processes see one."""

from django.db.models.signals import post_delete, post_save, pre_delete
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobledger.lazily import lazily
from jobledger.models import Calendar, Pause, SchedulePolicy

TIMING_FIELDS = {
    CrontabSchedule: "crontab",
    IntervalSchedule: "interval",
    SolarSchedule: "solar",
    ClockedSchedule: "clocked",
}
"""The models of times, and the fields of a schedule that refer to them."""

_schedule_saved = lazily("jobledger.schedules.reconciliation.schedule_saved")
_schedule_deleted = lazily("jobledger.schedules.reconciliation.schedule_deleted")
_schedule_deleting = lazily("jobledger.schedules.reconciliation.schedule_deleting")
_times_saved = lazily("jobledger.schedules.reconciliation.times_saved")
_policy_saved = lazily("jobledger.schedules.reconciliation.policy_saved")
_calendar_saved = lazily("jobledger.schedules.reconciliation.calendar_saved")
_pause_changed = lazily("jobledger.schedules.reconciliation.pause_changed")


def connect() -> None:
    """Connect the signal handlers."""
    post_save.connect(_schedule_saved, PeriodicTask, dispatch_uid="jobledger.schedules.signals.schedule")
    pre_delete.connect(_schedule_deleting, PeriodicTask, dispatch_uid="jobledger.schedules.signals.deleting")
    post_delete.connect(_schedule_deleted, PeriodicTask, dispatch_uid="jobledger.schedules.signals.deleted")
    for model in TIMING_FIELDS:
        post_save.connect(_times_saved, model, dispatch_uid="jobledger.schedules.signals.times")
    post_save.connect(_policy_saved, SchedulePolicy, dispatch_uid="jobledger.schedules.signals.policy")
    post_save.connect(_calendar_saved, Calendar, dispatch_uid="jobledger.schedules.signals.calendar")
    for signal in post_save, post_delete:
        signal.connect(_pause_changed, Pause, dispatch_uid="jobledger.schedules.signals.pause")
