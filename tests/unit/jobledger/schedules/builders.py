"""Schedules for tests, with one line each."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.jobs.declaration import LeftOutSlots
from jobledger.models import Calendar, NextSlot, SchedulePolicy
from jobledger.schedules import calendars as stored_calendars
from jobledger.schedules.rules.interval import Interval

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
    schedule = _made(name, None, interval=interval, **values)
    anchor = NOON - timedelta(days=1)
    SchedulePolicy.objects.filter(schedule=schedule).update(anchor=anchor)
    for row in NextSlot.objects.filter(schedule=schedule):
        slot = _next_on_grid(schedule, row.handled_until)
        NextSlot.objects.filter(pk=row.pk).update(slot=slot)
    return schedule if handled_until is None else wound_back(schedule, handled_until)


def limited_by(
    schedule: PeriodicTask, not_on: str = "", *, only_on: str = "", moved: bool = False
) -> PeriodicTask:
    """The schedule with calendars of these entries."""
    closed, opened = (
        [Calendar.objects.create(name=f"{kind} {schedule.name}", entries=entries)] if entries else []
        for kind, entries in (("closed", not_on), ("open", only_on))
    )
    stored_calendars.assign(schedule.pk, closed, opened)
    left_out = LeftOutSlots.MOVE if moved else LeftOutSlots.SKIP
    copy = stored_calendars.copy_of(closed, opened, left_out)
    SchedulePolicy.objects.filter(schedule=schedule).update(left_out=left_out, calendars=copy)
    return schedule


def wound_back(schedule: PeriodicTask, handled_until: datetime) -> PeriodicTask:
    """As if beat had planned the schedule then, and not since."""
    slot = handled_until if schedule.interval is None else _next_on_grid(schedule, handled_until)
    NextSlot.objects.filter(schedule=schedule).update(
        handled_until=handled_until, due_at=handled_until, slot=slot
    )
    return schedule


def _next_on_grid(schedule: PeriodicTask, after: datetime) -> datetime | None:
    """The next slot of an interval."""
    every = timedelta(**{schedule.interval.period: schedule.interval.every})
    anchor = SchedulePolicy.objects.get(schedule=schedule).anchor
    return Interval(every=every, anchor=anchor).first_after(after)


def _made(name: str, handled_until: datetime | None, **values: Any) -> PeriodicTask:
    schedule = PeriodicTask.objects.create(**{"name": name, "task": "probes.probe", **values})
    return schedule if handled_until is None else wound_back(schedule, handled_until)
