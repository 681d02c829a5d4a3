"""Schedules in plain English: common cron expressions idiomatically, all others by cronsim.

The description is correct for every expression that ``cron_expression.parse`` accepts; for others, parse's
``RuleError`` is raised. It does not include the zone: ``needs_zone`` tells whether the zone makes a
difference.
"""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache

from cronsim.explain import explain
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.schedules import stored_schedules
from jobledger.schedules.rules import celery_cron
from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import ParsedCron, parse
from jobledger.schedules.rules.interval import Clocked, Interval
from jobledger.schedules.rules.slots import Rule
from jobledger.schedules.rules.solar import Solar
from jobledger.schedules.rules.wallclock import EARLIEST
from jobledger.schedules.stored_schedules import CronTimes, IntervalTimes, SolarTimes, StoredTimes

_DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_EVERY_DAY = set(range(7))
_WEEKDAYS = {1, 2, 3, 4, 5}
_MAX_LISTED_TIMES = 4
"""More times of day than this are not listed one by one."""

_ENDINGS = {1: "st", 2: "nd", 3: "rd"}
_PLAIN_TERM = re.compile(r"([0-9]+)(?:-([0-9]+))?")
_NUMBER_TH = re.compile(r"\b([0-9]+)th\b")


@lru_cache(maxsize=4096)
def in_words(expression: str) -> str:
    """The expression as a phrase, such as "every weekday at 03:00". Raises RuleError."""
    parsed = parse(expression)
    return _common(parsed) or _explained(parsed)


def needs_zone(expression: str) -> bool:
    """Whether the phrase mentions an hour or a day, which depends on the zone; "every hour" does not."""
    parsed = parse(expression)
    return len(parsed.hours) < 24 or parsed.canonical.split()[2:] != ["*", "*", "*"]


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _listed_alternatives(words: Sequence[str]) -> str:
    """``a, b or c``."""
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    return f"{number}{'th' if number // 10 == 1 else _ENDINGS.get(number % 10, 'th')}"


def _common(parsed: ParsedCron) -> str | None:
    _minute, _hour, days, months, weekdays = parsed.canonical.split()
    if months != "*":
        return None
    times, frequency = _times(parsed), _frequency(parsed)
    if (weekday := _weekday_words(weekdays)) and days == "*":
        if frequency:
            return frequency if weekday == "every day" else f"{frequency}, {weekday}"
        return f"{weekday} {times}" if times else None
    if weekdays == "*" and times and (dates := _numbers(days)):
        return f"{times} on the {listed([ordinal(date) for date in dates])} of every month"
    return None


def _times(parsed: ParsedCron) -> str | None:
    """The times of day, if there are only a few."""
    if len(parsed.hours) * len(parsed.minutes) > _MAX_LISTED_TIMES:
        return None
    return f"at {listed([f'{hour:02}:{minute:02}' for hour in parsed.hours for minute in parsed.minutes])}"


def _frequency(parsed: ParsedCron) -> str | None:
    """How often, if it is evenly spaced throughout the day."""
    hours, minutes = _step(parsed.hours, 24), _step(parsed.minutes, 60)
    if hours == 1 and minutes:
        return "every hour" if minutes == 60 else every(minutes, "minute")
    if len(parsed.minutes) > 1 or hours is None or hours > 12:
        return None
    past = parsed.minutes[0]
    return every(hours, "hour") + (f" at {past} minutes past" if past else "")


def every(count: int, unit: str) -> str:
    """Every hour, every 2 hours."""
    return f"every {unit}" if count == 1 else f"every {count} {unit}s"


def _step(numbers: Sequence[int], size: int) -> int | None:
    """The step between numbers that are evenly spaced from 0 to ``size``; None if they are not."""
    step = size // len(numbers)
    return step if tuple(numbers) == tuple(range(0, size, step)) and size % step == 0 else None


def _weekday_words(field: str) -> str | None:
    numbers = {number % 7 for number in _numbers(field)} if field != "*" else _EVERY_DAY
    if not numbers:
        return None
    if numbers == _EVERY_DAY:
        return "every day"
    if numbers == _WEEKDAYS:
        return "every weekday"
    # List the week from Monday.
    return f"every {listed([_DAYS[number] for number in sorted(numbers, key=_from_monday)])}"


def _from_monday(weekday: int) -> int:
    return (weekday - 1) % 7


def _numbers(field: str) -> list[int]:
    """The numbers of a field of plain numbers and ranges; empty if it contains anything else."""
    matches = [_PLAIN_TERM.fullmatch(term) for term in field.split(",")]
    if not all(matches):
        return []
    ranges = [range(int(match[1]), int(match[2] or match[1]) + 1) for match in matches if match]
    return sorted({number for each in ranges for number in each})


def _explained(parsed: ParsedCron) -> str:
    words: str = explain(parsed.canonical)
    # cronsim writes 21th, 22th and 23th.
    words = _NUMBER_TH.sub(lambda match: ordinal(int(match[1])), words)
    return words[0].lower() + words[1:]


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
    """When the schedule is due; if its times cannot be evaluated, the times as stored.

    A clocked time is given in the current time zone.
    """
    times = stored_schedules.of(schedule)
    try:
        # The phrase does not mention an interval's anchor, so any will do.
        rule = stored_schedules.rule_from(times, EARLIEST) if times else None
        words = rule_words(rule, timezone.get_current_timezone()) if rule else NO_TIMES
    except stored_schedules.UNREADABLE:
        words = _as_stored(times)
    is_clocked = schedule.clocked_id is not None
    return f"{words}, {ONLY_ONCE}" if schedule.one_off and not is_clocked else words


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
        case Solar(event=event, latitude=latitude, longitude=longitude):
            return _solar_words(event, latitude, longitude)
    raise TypeError(f"cannot describe {type(rule).__name__}")


def cron_in_words(expression: str, zone: tzinfo) -> str:
    """An expression, with its zone if that makes a difference. Raises RuleError."""
    words = in_words(expression)
    return f"{words} {zone}" if needs_zone(expression) else words


def _celery_in_words(expression: str, zone: tzinfo) -> str:
    """The same as Celery reads it: a day must match both the day of the month and the weekday."""
    canonical = celery_cron.parse(expression).canonical
    *others, days, months, weekdays = canonical.split()
    if "*" in (days, weekdays):
        return cron_in_words(canonical, zone)
    names = [_DAYS[number] for number in sorted(_numbers(weekdays), key=_from_monday)]
    words = in_words(" ".join([*others, days, months, "*"]))
    return f"{words}, only if that is a {_listed_alternatives(names)} {zone}"


def length_words(length: timedelta) -> str:
    """An interval in the largest unit that divides it: every 90 seconds, every 2 hours."""
    for name, unit in _UNITS:
        if length and not length % unit:
            return every(length // unit, name)
    return f"every {length}"


def _clocked_words(at: datetime, zone: tzinfo) -> str:
    local = at.astimezone(zone)
    seconds = ":%S" if local.second else ""
    return f"once on {local.strftime(f'%Y-%m-%d %H:%M{seconds}')} {zone}"


def _solar_words(event: str, latitude: float, longitude: float) -> str:
    # "dawn_civil" becomes "civil dawn".
    name, _, kind = event.partition("_")
    words = event.replace("_", " ") if name == "solar" else f"{kind} {name}".strip()
    north_south, east_west = "N" if latitude >= 0 else "S", "E" if longitude >= 0 else "W"
    return f"every day at {words} at {abs(latitude):g}° {north_south}, {abs(longitude):g}° {east_west}"


def _as_stored(times: StoredTimes | None) -> str:
    match times:
        case CronTimes():
            return f"{times.expression} {times.zone}"
        case IntervalTimes():
            return every(times.every, times.period.removesuffix("s"))
        case SolarTimes():
            return _solar_words(times.event, float(times.latitude), float(times.longitude))
    return NO_TIMES
