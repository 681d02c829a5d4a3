"""Schedules in plain language: "every weekday at 03:00 Europe/London". Never raises, asks no clock.

``rule_words`` works on rules; ``described`` on a stored schedule, whose times (``timing.KINDS``) should have
been read together with it. What cannot be evaluated is shown as it was written.
"""

from datetime import datetime, timedelta, tzinfo

from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from tasks_app.jobs.scheduling import cron_words
from tasks_app.jobs.scheduling.cron_expression import cron_expression
from tasks_app.jobs.scheduling.slots import Clocked, Cron, Interval, Rule, RuleError, Solar

NO_TIMES = "no times"
ONLY_ONCE = "only the next time"

_UNITS = (
    ("week", timedelta(weeks=1)),
    ("day", timedelta(days=1)),
    ("hour", timedelta(hours=1)),
    ("minute", timedelta(minutes=1)),
    ("second", timedelta(seconds=1)),
)


def described(schedule: PeriodicTask) -> str:
    """When the schedule is due. A moment is shown in the current time zone."""
    try:
        words = _stored_words(schedule)
    except RuleError:
        words = _as_written(schedule)
    is_once_anyway = schedule.clocked_id is not None
    return f"{words}, {ONLY_ONCE}" if schedule.one_off and not is_once_anyway else words


def rule_words(rule: Rule, zone: tzinfo) -> str:
    """When a rule is due. One moment is shown in the zone; cron has its own."""
    match rule:
        case Cron(expression=expression, zone=own_zone):
            return cron_in_words(expression, own_zone)
        case Interval(every=every):
            return length_words(every)
        case Clocked(at=at):
            return _moment_words(at, zone)
        case Solar(event=event, latitude=latitude, longitude=longitude):
            return _solar_words(event, latitude, longitude)
    raise TypeError(f"{type(rule).__name__} has no words")


def cron_in_words(expression: str, zone: tzinfo) -> str:
    """An expression with its zone, where that matters. Raises RuleError."""
    words = cron_words.in_words(expression)
    return f"{words} {zone}" if cron_words.needs_zone(expression) else words


def length_words(every: timedelta) -> str:
    """A pace, in the largest unit that fits: every 90 seconds, every 2 hours."""
    for name, unit in _UNITS:
        if every and not every % unit:
            return cron_words.every(every // unit, name)
    return f"every {every}"


def _stored_words(schedule: PeriodicTask) -> str:
    if schedule.crontab_id is not None:
        return cron_in_words(_expression(schedule.crontab), schedule.crontab.timezone)
    if schedule.interval_id is not None:
        return _interval_words(schedule.interval.every, schedule.interval.period)
    if schedule.clocked_id is not None:
        return _moment_words(schedule.clocked.clocked_time, timezone.get_current_timezone())
    if schedule.solar_id is not None:
        solar = schedule.solar
        return _solar_words(solar.event, float(solar.latitude), float(solar.longitude))
    return NO_TIMES


def _expression(crontab: CrontabSchedule) -> str:
    return cron_expression(
        crontab.minute, crontab.hour, crontab.day_of_month, crontab.month_of_year, crontab.day_of_week
    )


def _interval_words(count: int, period: str) -> str:
    try:
        return length_words(timedelta(**{period: count}))
    except (TypeError, OverflowError):
        return f"every {count} {period}"


def _moment_words(moment: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    seconds = ":%S" if local.second else ""
    return f"once on {local.strftime(f'%Y-%m-%d %H:%M{seconds}')} {zone}"


def _solar_words(event: str, latitude: float, longitude: float) -> str:
    # "dawn_civil" is said the other way round.
    name, _, kind = event.partition("_")
    words = event.replace("_", " ") if name == "solar" else f"{kind} {name}".strip()
    north_south, east_west = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"every day at {words} at {abs(latitude):g}° {north_south}, {abs(longitude):g}° {east_west}"


def _as_written(schedule: PeriodicTask) -> str:
    crontab = schedule.crontab
    fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return f"{' '.join(getattr(crontab, field) or '?' for field in fields)} {crontab.timezone}"
