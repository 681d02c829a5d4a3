"""A schedule's times as a value, and the rows that django-celery-beat keeps them in.

Many schedules may share one row of ``CrontabSchedule`` and its like. So a row is never edited: ``put`` gives
the schedule a row with the new times, one that is there already where there is one. The row that it leaves
stays, since deleting a row deletes every schedule that still uses it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from tasks_app.jobs.scheduling.cron_expression import fields_of
from tasks_app.jobs.scheduling.slots import Clocked, Cron, Interval, Rule, RuleError, Solar
from tasks_app.jobs.scheduling.timing import KINDS, UNREADABLE

CRON_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")


@dataclass(frozen=True, kw_only=True)
class CronTimes:
    """An expression in a zone."""

    expression: str
    zone: ZoneInfo


@dataclass(frozen=True, kw_only=True)
class IntervalTimes:
    """A length of time, as its author counts it."""

    every: int
    period: str
    """``days``, ``hours``, ``minutes`` or ``seconds``."""


@dataclass(frozen=True, kw_only=True)
class OneMoment:
    """Once."""

    at: datetime


@dataclass(frozen=True, kw_only=True)
class SunTimes:
    """An event of the sun at a place."""

    event: str
    latitude: Decimal
    longitude: Decimal


StoredTimes = CronTimes | IntervalTimes | OneMoment | SunTimes


def rule_of(times: StoredTimes, anchor: datetime) -> Rule:
    """The rule that the times stand for; an interval counts from the anchor. Raises RuleError."""
    match times:
        case CronTimes():
            _check_lengths(times)
            return Cron(expression=" ".join(fields_of(times.expression)), zone=times.zone)
        case IntervalTimes():
            return Interval(every=_length(times), anchor=anchor)
        case OneMoment():
            return Clocked(at=times.at)
        case SunTimes():
            latitude, longitude = float(times.latitude), float(times.longitude)
            return Solar(event=times.event, latitude=latitude, longitude=longitude)


def of(schedule: PeriodicTask) -> StoredTimes | None:
    """The schedule's times as they are stored; None where it has none, or Django cannot read them."""
    try:
        return _read(schedule)
    except UNREADABLE:
        return None


def put(schedule: PeriodicTask, times: StoredTimes) -> None:
    """Give the schedule these times. Rows are written, the schedule itself is not."""
    if of(schedule) == times:
        return
    kind, model, values = _row(times)
    for each in KINDS:
        setattr(schedule, each, None)
    setattr(schedule, kind, _equal_or_new(model, values))
    # django-celery-beat asks for it where a schedule has one moment.
    schedule.one_off = schedule.one_off or kind == "clocked"


def _read(schedule: PeriodicTask) -> StoredTimes | None:
    if schedule.crontab_id is not None:
        return CronTimes(expression=_expression(schedule.crontab), zone=schedule.crontab.timezone)
    if schedule.interval_id is not None:
        return IntervalTimes(every=schedule.interval.every, period=schedule.interval.period)
    if schedule.clocked_id is not None:
        return OneMoment(at=schedule.clocked.clocked_time)
    if schedule.solar_id is not None:
        solar = schedule.solar
        return SunTimes(event=solar.event, latitude=solar.latitude, longitude=solar.longitude)
    return None


def _row(times: StoredTimes) -> tuple[str, Any, dict[str, Any]]:
    match times:
        case CronTimes():
            fields = dict(zip(CRON_FIELDS, fields_of(times.expression), strict=True))
            return "crontab", CrontabSchedule, {**fields, "timezone": times.zone}
        case IntervalTimes():
            return "interval", IntervalSchedule, {"every": times.every, "period": times.period}
        case OneMoment():
            return "clocked", ClockedSchedule, {"clocked_time": times.at}
        case SunTimes():
            place = {"latitude": times.latitude, "longitude": times.longitude}
            return "solar", SolarSchedule, {"event": times.event, **place}


def _expression(crontab: CrontabSchedule) -> str:
    """Whatever is stored, also what cannot be evaluated: it is there to be mended."""
    return " ".join("".join(getattr(crontab, field).split()) or "?" for field in CRON_FIELDS)


def _equal_or_new(model: Any, values: dict[str, Any]) -> Any:
    # Only solar rows are unique in the database: of the others there may be several alike.
    return model.objects.filter(**values).order_by("pk").first() or model.objects.create(**values)


def _check_lengths(times: CronTimes) -> None:
    for name, text in zip(CRON_FIELDS, fields_of(times.expression), strict=True):
        longest = CrontabSchedule._meta.get_field(name).max_length
        if len(text) > longest:
            label = name.replace("_", "-")
            raise RuleError(f"{label}: it is longer than {longest} characters", field=label)


def _length(times: IntervalTimes) -> timedelta:
    try:
        return timedelta(**{times.period: times.every})
    except (TypeError, OverflowError):
        raise RuleError(f"every: {times.every} {times.period} is no length of time", field="every") from None
