"""Celery's crontab: the slots of an expression as django-celery-beat's own scheduler would run it.

It exists for schedules that were made for that scheduler. It differs from Debian's cron (``cron``):

- A day must match the day of the month **and** the weekday.
- The fields are parsed by Celery, which accepts some other texts, and does not accept 7 for Sunday.
- In the spring-forward gap, the first time runs as much later as the clock moves. Other times in the gap do
  not run, nor do those between the end of the gap and that run.
- In the fall-back fold, every time runs at its first occurrence only, also with ``*`` as the hour.

These are the slots of a beat that runs all the time. (One that is started in the second hour of a fold would
repeat times of the first.)
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from celery.schedules import ParseException, crontab, crontab_parser

from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.cron_expression import CronRule, ParsedExpression, fields_of
from jobledger.schedules.rules.slots import RESOLUTION, RuleError

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_FIELDS = (
    ("minute", 60, 0),
    ("hour", 24, 0),
    ("day-of-month", 31, 1),
    ("month", 12, 1),
    ("day-of-week", 7, 0),
)
"""In cron's order: the name, how many values there are, and the first."""


@dataclass(frozen=True, kw_only=True)
class ParsedCrontab(ParsedExpression):
    """An expression that Celery accepts; ``canonical`` has ``*`` for each field without a restriction."""

    minutes: tuple[int, ...]
    """Minutes of the day, in order."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""

    def includes(self, day: date) -> bool:
        is_weekday = day.isoweekday() % 7 in self.weekdays
        return is_weekday and day.day in self.days and day.month in self.months

    def day_after(self, day: date) -> date:
        """The next day that matches. Raises OverflowError if there is none before the year 10000."""
        day += _DAY
        while not self.includes(day):
            day = day + _DAY if day.month in self.months else (day + _DAY * (32 - day.day)).replace(day=1)
        return day

    def day_before(self, day: date) -> date:
        """The previous day that matches. Raises OverflowError if there is none after the year 0."""
        day -= _DAY
        while not self.includes(day):
            day -= _DAY if day.month in self.months else _DAY * day.day
        return day


@dataclass(frozen=True, kw_only=True)
class CeleryCron(CronRule):
    """A cron expression as Celery reads it, evaluated in a zone."""

    @property
    def parsed(self) -> ParsedCrontab:
        return parse(self.expression)

    def first_after(self, at: datetime) -> datetime | None:
        delayed = self._delayed_by_gap(at)
        if delayed is not None and delayed > at:
            return delayed
        walls = _walls_after(self.expression, wallclock.to_wall(at, self.zone))
        return next(slot for slot in map(self._to_utc, walls) if slot > at)

    def last_before(self, at: datetime) -> datetime | None:
        wall = wallclock.to_wall(at, self.zone) + wallclock.fold_length(at, self.zone)
        earlier = (slot for slot in map(self._to_utc, _walls_before(self.expression, wall)) if slot < at)
        # Of the times in a gap and right after it, only some are slots.
        return next(slot for slot in earlier if self.first_after(slot - RESOLUTION) == slot)

    def _delayed_by_gap(self, at: datetime) -> datetime | None:
        """The slot of the times in the gap, if the clock has moved forward in the last 24 hours."""
        before = at - _DAY
        old, new = wallclock.offset_at(before, self.zone), wallclock.offset_at(at, self.zone)
        if old is None or new is None or new <= old:
            return None
        change = wallclock.transition_between(before, at, self.zone)
        begin = change.replace(tzinfo=None) + old
        wall = next(_walls_after(self.expression, begin - RESOLUTION))
        return self._to_utc(wall) if wall < begin + (new - old) else None

    def _to_utc(self, wall: datetime) -> datetime:
        # As Celery does: a time in a gap with the offset before it, which makes it later.
        return wall.replace(tzinfo=self.zone).astimezone(UTC)


@lru_cache(maxsize=4096)
def parse(expression: str) -> ParsedCrontab:
    """Parse an expression as Celery does. Raises RuleError, which names the field and the problem."""
    texts = fields_of(expression)
    minutes, hours, days, months, weekdays = (
        _numbers(name, crontab_parser(count, first), text)
        for (name, count, first), text in zip(_FIELDS, texts, strict=True)
    )
    try:
        crontab(texts[0], texts[1], texts[4], texts[2], texts[3])
    except ValueError as error:
        raise RuleError(f"day-of-month: {error}", field="day-of-month") from None
    numbers = (minutes, hours, days, months, weekdays)
    return ParsedCrontab(
        fields=" ".join(texts),
        canonical=" ".join(
            _compact(each, count) for each, (_, count, _first) in zip(numbers, _FIELDS, strict=True)
        ),
        minutes=tuple(hour * 60 + minute for hour in hours for minute in minutes),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(weekdays),
    )


def _numbers(name: str, parser: crontab_parser, text: str) -> list[int]:
    try:
        return sorted(parser.parse(text))
    except (ValueError, ParseException) as error:
        raise RuleError(f"{name}: Celery does not accept {text!r}: {error}", field=name) from None


def _compact(numbers: list[int], count: int) -> str:
    """``1-7,15`` for the numbers 1 to 7 and 15; ``*`` for all of them."""
    if len(numbers) == count:
        return "*"
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    return ",".join(str(each[0]) if len(each) == 1 else f"{each[0]}-{each[-1]}" for each in ranges)


def _walls_after(expression: str, wall: datetime) -> Iterator[datetime]:
    match = wall.replace(second=0, microsecond=0, fold=0)
    while True:
        match = _match_after(expression, match)
        yield match


def _walls_before(expression: str, wall: datetime) -> Iterator[datetime]:
    whole = wall.replace(second=0, microsecond=0, fold=0)
    match = whole if whole == wall else whole + _MINUTE
    while True:
        match = _match_before(expression, match)
        yield match


# Only ever called with whole minutes, and many schedules share an expression, so most calls are cached.
@lru_cache(maxsize=8192)
def _match_after(expression: str, minute: datetime) -> datetime:
    parsed, day = parse(expression), minute.date()
    place = bisect_right(parsed.minutes, minute.hour * 60 + minute.minute) if parsed.includes(day) else None
    if place is None or place == len(parsed.minutes):
        day, place = parsed.day_after(day), 0
    return _wall(day, parsed.minutes[place])


@lru_cache(maxsize=8192)
def _match_before(expression: str, minute: datetime) -> datetime:
    parsed, day = parse(expression), minute.date()
    place = bisect_left(parsed.minutes, minute.hour * 60 + minute.minute) if parsed.includes(day) else 0
    if place == 0:
        day, place = parsed.day_before(day), len(parsed.minutes)
    return _wall(day, parsed.minutes[place - 1])


def _wall(day: date, minute: int) -> datetime:
    return datetime.combine(day, time(*divmod(minute, 60)))
