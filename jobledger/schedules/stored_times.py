"""When a schedule is due, as users enter it and as it is stored. Runs no query.

Times are validated alike, whether they come from a form, from code or from anywhere else.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from django_celery_beat.models import CrontabSchedule

from jobledger.models import After, Dialect
from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.chained import Chained
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import fields_of
from jobledger.schedules.rules.interval import Clocked, Interval
from jobledger.schedules.rules.slots import Rule, RuleError
from jobledger.schedules.rules.solar import Solar

MAX_INTEGER = 2**31 - 1
"""The largest value of an integer field that every database supports."""

CRONTAB_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
"""In cron's order."""


@dataclass(frozen=True, kw_only=True)
class CronTimes:
    """A cron expression in a zone."""

    expression: str
    zone: ZoneInfo
    dialect: Dialect = Dialect.CRON


@dataclass(frozen=True, kw_only=True)
class IntervalTimes:
    """An interval, in the unit that the user chose."""

    every: int
    period: str
    """``days``, ``hours``, ``minutes`` or ``seconds``."""


@dataclass(frozen=True, kw_only=True)
class ClockedTimes:
    """A single time."""

    at: datetime


@dataclass(frozen=True, kw_only=True)
class SolarTimes:
    """A solar event at a location."""

    event: str
    latitude: Decimal
    longitude: Decimal


@dataclass(frozen=True, kw_only=True)
class ChainTimes:
    """None of its own: it starts after other schedules."""

    after: tuple[str, ...]
    """Their names, sorted."""
    after_failure: bool = False
    """Whether it also starts if they have not succeeded."""


StoredTimes = CronTimes | IntervalTimes | ClockedTimes | SolarTimes | ChainTimes


def validated(times: StoredTimes, anchor: datetime) -> Rule:
    """The rule for times to be stored. Raises RuleError, also for values too large for their columns."""
    rule = rule_from(times, anchor)
    match times:
        case CronTimes():
            _check_lengths(times)
        case IntervalTimes() if times.every > MAX_INTEGER:
            raise RuleError(f"every: {times.every} is more than {MAX_INTEGER}", field="every")
    return rule


def rule_from(times: StoredTimes, anchor: datetime) -> Rule:
    """The rule for these times; an interval counts from the anchor. Raises RuleError."""
    match times:
        case CronTimes(dialect=dialect):
            rule = CeleryCron if dialect is Dialect.CELERY else Cron
            return rule(expression=times.expression, zone=times.zone)
        case IntervalTimes():
            return Interval(every=_length(times), anchor=anchor)
        case ClockedTimes():
            return Clocked(at=times.at)
        case ChainTimes(after=after, after_failure=after_failure):
            if not after:
                raise RuleError("after: name at least one schedule", field="after")
            return Chained(after=after, after_failure=after_failure)
        case SolarTimes():
            latitude, longitude = float(times.latitude), float(times.longitude)
            return Solar(event=times.event, latitude=latitude, longitude=longitude)


def after_of(times: StoredTimes | None) -> str:
    """``SchedulePolicy.after`` for these times."""
    match times:
        case ChainTimes(after_failure=after_failure):
            return After.END if after_failure else After.SUCCESS
    return ""


def _check_lengths(times: CronTimes) -> None:
    for name, text in zip(CRONTAB_FIELDS, fields_of(times.expression), strict=True):
        max_length = CrontabSchedule._meta.get_field(name).max_length
        if len(text) > max_length:
            label = name.replace("_", "-")
            raise RuleError(f"{label}: it is longer than {max_length} characters", field=label)


def _length(times: IntervalTimes) -> timedelta:
    try:
        return timedelta(**{times.period: times.every})
    except (TypeError, OverflowError):
        message = f"every: {times.every} {times.period} is not a valid interval"
        raise RuleError(message, field="every") from None
