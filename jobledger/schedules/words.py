"""Schedules in plain English."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.calendars.use import CalendarUse
from jobledger.formats import local_time
from jobledger.models import SchedulePolicy
from jobledger.schedules import stored_schedules, stored_times
from jobledger.schedules.rules import celery_cron
from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.chained import Chained
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import ParsedCron, parse
from jobledger.schedules.rules.cron_words import OF_THE_DAY, every, listed, phrase
from jobledger.schedules.rules.interval import Clocked, Interval
from jobledger.schedules.rules.slots import Rule
from jobledger.schedules.rules.solar import Solar
from jobledger.schedules.rules.wallclock import EARLIEST
from jobledger.schedules.stored_times import (
    ChainTimes,
    CronTimes,
    IntervalTimes,
    SolarTimes,
    StoredTimes,
)


def in_words(expression: str) -> str:
    """The expression as a phrase without its zone, such as "every weekday at 03:00". Raises RuleError."""
    parsed = parse(expression)
    return phrase(parsed, repeats_in_fold=parsed.follows_clock)


def zone_of(schedule: PeriodicTask) -> ZoneInfo:
    """The zone of the schedule's crontab, or else the project's."""
    times = stored_schedules.of(schedule)
    zone = times.zone if isinstance(times, CronTimes) else None
    return zone if isinstance(zone, ZoneInfo) else timezone.get_default_timezone()


NO_TIMES = "no times"
ONLY_ONCE = "only the next time"

_UNITS = (
    ("week", timedelta(weeks=1)),
    ("day", timedelta(days=1)),
    ("hour", timedelta(hours=1)),
    ("minute", timedelta(minutes=1)),
    ("second", timedelta(seconds=1)),
)


def described(schedule: PeriodicTask, zone: tzinfo | None = None) -> str:
    """When the schedule is due; if its times cannot be evaluated, the times as stored.

    A clocked time is given in this or the current time zone.
    """
    times = stored_schedules.of(schedule)
    try:
        # The phrase does not mention an interval's anchor, so any will do.
        rule = stored_times.rule_from(times, EARLIEST) if times else None
        words = rule_words(rule, zone or timezone.get_current_timezone()) if rule else NO_TIMES
        words += calendar_words(CalendarUse.read(SchedulePolicy.of(schedule).calendars))
    except stored_schedules.UNREADABLE:
        words = _as_stored(times)
    is_clocked = schedule.clocked_id is not None
    return f"{words}, {ONLY_ONCE}" if schedule.one_off and not is_clocked else words


def calendar_words(calendars: CalendarUse) -> str:
    """What calendars change, to follow the words of a rule; empty without any."""
    only_on, not_on = ([each.name for each in used] for used in (calendars.only_on, calendars.not_on))
    words = f", only on {listed(only_on, 'or')}" if only_on else ""
    words += f", not on {listed(not_on, 'or')}" if not_on else ""
    return words + (" but on the next day that is free" if not_on and calendars.is_moved else "")


def rule_words(rule: Rule, zone: tzinfo) -> str:
    """When a rule is due. A clocked time is given in this zone; cron has a zone of its own."""
    match rule:
        case Cron(expression=expression, zone=own_zone):
            return cron_in_words(expression, own_zone)
        case CeleryCron(expression=expression, zone=own_zone):
            return _celery_in_words(expression, own_zone)
        case Interval(every=length):
            return length_words(length)
        case Clocked(at=at):
            return _clocked_words(at, zone)
        case Chained(after=after, after_failure=after_failure):
            return chain_words(after, after_failure=after_failure)
        case Solar(event=event, latitude=latitude, longitude=longitude):
            return _solar_words(event, latitude, longitude)
    raise TypeError(f"cannot describe {type(rule).__name__}")


def cron_in_words(expression: str, zone: tzinfo) -> str:
    """An expression, with its zone if that makes a difference. Raises RuleError."""
    parsed = parse(expression)
    return _in_zone(parsed, zone, repeats_in_fold=parsed.follows_clock)


def _celery_in_words(expression: str, zone: tzinfo) -> str:
    """The same as Celery reads it: a day must match both the day of the month and the weekday."""
    parsed = parse(celery_cron.parse(expression).canonical)
    return _in_zone(replace(parsed, must_match_both=True), zone, repeats_in_fold=False)


def _in_zone(parsed: ParsedCron, zone: tzinfo, *, repeats_in_fold: bool) -> str:
    # Only a zone whose clock has never changed tells its offset without a date.
    words = phrase(parsed, repeats_in_fold=repeats_in_fold or zone.utcoffset(None) is not None)
    return f"{words} {zone}" if _needs_zone(parsed, words) else words


def _needs_zone(parsed: ParsedCron, words: str) -> bool:
    """Whether the phrase mentions an hour or a day, which depends on the zone; "every hour" does not."""
    return len(parsed.hours) < 24 or parsed.canonical.split()[2:] != ["*", "*", "*"] or OF_THE_DAY in words


def length_words(length: timedelta) -> str:
    """An interval in the largest unit that divides it: every 90 seconds, every 2 hours."""
    for name, unit in _UNITS:
        if length and not length % unit:
            return every(length // unit, name)
    return f"every {length}"


def _clocked_words(at: datetime, zone: tzinfo) -> str:
    local = local_time(at, zone)
    seconds = ":%S" if local.second else ""
    return f"once on {local.strftime(f'%Y-%m-%d %H:%M{seconds}')} {local.tzinfo}"


def _solar_words(event: str, latitude: float, longitude: float) -> str:
    # "dawn_civil" becomes "civil dawn".
    name, _, kind = event.partition("_")
    words = event.replace("_", " ") if name == "solar" else f"{kind} {name}".strip()
    north_south, east_west = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"every day at {words} at {abs(latitude):g}° {north_south}, {abs(longitude):g}° {east_west}"


def chain_words(after: Sequence[str], *, after_failure: bool) -> str:
    """What it starts after: ``after a and b have succeeded``."""
    verb = ("have" if len(after) > 1 else "has") + (" ended" if after_failure else " succeeded")
    return f"after {listed(after, 'and')} {verb}" if after else NO_TIMES


def _as_stored(times: StoredTimes | None) -> str:
    match times:
        case ChainTimes():
            return chain_words(times.after, after_failure=times.after_failure)
        case CronTimes():
            return f"{times.expression} {times.zone}"
        case IntervalTimes():
            return every(times.every, times.period.removesuffix("s"))
        case SolarTimes():
            return _solar_words(times.event, float(times.latitude), float(times.longitude))
    return NO_TIMES
