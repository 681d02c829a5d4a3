"""Schedules for tests, with one line each."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.models import NextSlot, SchedulePolicy

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""The current time in most tests."""


def hourly(name: str = "hourly", *, handled_until: datetime | None = None, **values: Any) -> PeriodicTask:
    """A schedule of the job ``probe``, due every full hour, with its slots handled until then."""
    minute = values.pop("minute", "0")
    crontab = CrontabSchedule.objects.create(minute=minute, timezone=ZoneInfo("UTC"))
    return _made(name, handled_until, crontab=crontab, **values)


def every(
    seconds: int, name: str = "every", *, handled_until: datetime | None = None, **values: Any
) -> PeriodicTask:
    """A schedule of the job ``probe``, due every so many seconds from the full hour."""
    interval = IntervalSchedule.objects.create(every=seconds, period="seconds")
    schedule = _made(name, handled_until, interval=interval, **values)
    SchedulePolicy.objects.filter(schedule=schedule).update(anchor=NOON - timedelta(days=1))
    return schedule


def wound_back(schedule: PeriodicTask, handled_until: datetime) -> PeriodicTask:
    """As if beat had planned the schedule then, and not since."""
    NextSlot.objects.filter(schedule=schedule).update(
        handled_until=handled_until, due_at=handled_until, slot=handled_until
    )
    return schedule


def _made(name: str, handled_until: datetime | None, **values: Any) -> PeriodicTask:
    schedule = PeriodicTask.objects.create(**{"name": name, "task": "probes.probe", **values})
    return schedule if handled_until is None else wound_back(schedule, handled_until)
