"""The entries of a calendar: a line of text each, such as ``holidays GB-ENG`` or ``fri 18:00 to 24:00``.

What follows a ``#`` is the entry's name, which is shown where it leaves something out.
``docs/reference/calendars.md`` describes the syntax.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from jobledger.calendars import public_holidays
from jobledger.calendars.days import (
    Dates,
    Days,
    EdgeOfMonth,
    EveryDay,
    PublicHolidays,
    Weekdays,
    Weeks,
    Yearly,
)
from jobledger.calendars.errors import CalendarError
from jobledger.calendars.spans import DAY_MINUTES, Span

MAX_ENTRIES = 500
MAX_PROBLEMS = 10
"""That are named at once."""
MAX_LENGTH = 200
"""Of a line, in characters."""
MAX_WEEKS = 52
EXAMPLES = (
    "“sat, sun”, “holidays GB-ENG”, “2026-12-24”, “12-24 to 12-31”, “22:00 to 06:00” or “last working day”"
)

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAY_NUMBERS = {name: number for number, day in enumerate(_WEEKDAYS) for name in (day, day[:3])}
_DATE, _CLOCK = r"(\d{4}-\d\d-\d\d)", r"(\d\d:\d\d)"
_PERIOD = re.compile(rf"{_DATE} {_CLOCK} to {_DATE} {_CLOCK}")
_TIMES = re.compile(rf"(?:(.*?) )?{_CLOCK} to {_CLOCK}")
_LEAP_YEAR = 2024


@dataclass(frozen=True, kw_only=True)
class Recurring:
    """Days, or the same times on each of them."""

    days: Days
    begin: int = 0
    end: int = DAY_MINUTES
    """Before the beginning: on the next day."""
    name: str

    def spans(self, day: date) -> Iterator[Span]:
        """Which parts of the day it covers."""
        name = self._name(day)
        if self.begin < self.end:
            if self.days.contains(day):
                yield Span(begin=self.begin, end=self.end, name=name)
            return
        if self.days.contains(day - timedelta(days=1)):
            yield Span(begin=0, end=self.end, name=self._name(day - timedelta(days=1)))
        if self.days.contains(day):
            yield Span(begin=self.begin, end=DAY_MINUTES, name=name)

    def _name(self, day: date) -> str:
        return (self.days.name_of(day) if self.days.contains(day) else "") or self.name


@dataclass(frozen=True, kw_only=True)
class Period:
    """From a time to another one, such as a blackout."""

    begin: datetime
    end: datetime
    name: str

    def spans(self, day: date) -> Iterator[Span]:
        midnight = datetime.combine(day, datetime.min.time())
        begin = max((self.begin - midnight) // _MINUTE, 0)
        end = min((self.end - midnight) // _MINUTE, DAY_MINUTES)
        if begin < end:
            yield Span(begin=begin, end=end, name=self.name)


_MINUTE = timedelta(minutes=1)
Entry = Recurring | Period


def parse(text: str) -> tuple[Entry, ...]:
    """The entries of a calendar. Raises CalendarError, which names each line that is wrong."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    found = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not found:
        raise CalendarError(f"it has no entries; write one per line, such as {EXAMPLES}")
    if len(found) > MAX_ENTRIES:
        raise CalendarError(f"it has {len(found)} entries; {MAX_ENTRIES} are allowed")
    entries, problems = list[Entry](), list[str]()
    for number, line in found:
        try:
            entries.append(_entry(number, line))
        except CalendarError as error:
            problems.append(str(error))
    if problems:
        others = len(problems) - MAX_PROBLEMS
        more = [f"and {others} more"] if others > 0 else []
        raise CalendarError("; ".join([*problems[:MAX_PROBLEMS], *more]))
    return tuple(entries)


def end_of(entry: Entry) -> date | None:
    """The last day that the entry can cover; None if it has no end."""
    match entry:
        case Period(end=end):
            return (end - _MINUTE).date()
        case Recurring(days=Dates(last=last), begin=begin, end=until):
            is_past_midnight = 0 < until <= begin
            return last + timedelta(days=1) if is_past_midnight else last
    return None


def _entry(number: int, line: str) -> Entry:
    try:
        if len(line) > MAX_LENGTH:
            raise CalendarError(f"it is longer than {MAX_LENGTH} characters")
        spec, _, name = line.partition("#")
        spec = " ".join(spec.split())
        return _parsed(spec, name.strip() or spec)
    except ValueError as error:
        raise CalendarError(f"line {number}, {line[:MAX_LENGTH]!r}: {error}") from None


def _parsed(spec: str, name: str) -> Entry:
    if found := _PERIOD.fullmatch(spec):
        since, until = _date(found[1]) + _clock(found[2]), _date(found[3]) + _clock(found[4])
        if until <= since:
            raise CalendarError("its end is not after its beginning")
        return Period(begin=since, end=until, name=name)
    if found := _TIMES.fullmatch(spec):
        days, begin, end = found[1], _minutes(found[2]), _minutes(found[3])
        if begin in (end, DAY_MINUTES):
            raise CalendarError("it covers no time; the end is excluded")
        return Recurring(days=_days(days) if days else EveryDay(), begin=begin, end=end, name=name)
    return Recurring(days=_days(spec), name=name)


def _days(spec: str) -> Days:
    for pattern, build in _FORMS:
        if found := pattern.fullmatch(spec):
            return build(found)
    raise CalendarError(f"it is not an entry; examples are {EXAMPLES}")


def _weekdays(found: re.Match[str]) -> Days:
    numbers: set[int] = set()
    for part in found[0].lower().split(","):
        first, _, last = (_weekday_number(each) for each in _range(part))
        numbers |= {number % 7 for number in range(first, last + 1 if first <= last else last + 8)}
    return Weekdays(numbers=frozenset(numbers))


def _range(part: str) -> tuple[str, str, str]:
    first, _, last = part.strip().partition("-")
    return first, first, last or first


def _weekday_number(name: str) -> int:
    number = _WEEKDAY_NUMBERS.get(name.strip())
    if number is None:
        raise CalendarError(f"{name.strip()!r} is not a day of the week; other examples are {EXAMPLES}")
    return number


def _dates(found: re.Match[str]) -> Days:
    first, last = _date(found[1]).date(), _date(found[2] or found[1]).date()
    if last < first:
        raise CalendarError("its last day is before its first")
    return Dates(first=first, last=last)


def _yearly(found: re.Match[str]) -> Days:
    return Yearly(first=_month_and_day(found[1]), last=_month_and_day(found[2] or found[1]))


def _month_and_day(text: str) -> tuple[int, int]:
    day = _date(f"{_LEAP_YEAR}-{text}")
    return day.month, day.day


def _edge_of_month(found: re.Match[str]) -> Days:
    region = public_holidays.region(found[3]) if found[3] else None
    is_working_day = found[2] is not None
    if region is not None and not is_working_day:
        raise CalendarError("a country makes a difference to working days only")
    return EdgeOfMonth(is_last=found[1].lower() == "last", is_working_day=is_working_day, region=region)


def _weeks(found: re.Match[str]) -> Days:
    every = 2 if found[1] is None else int(found[1])
    if not 2 <= every <= MAX_WEEKS:
        raise CalendarError(f"the number of weeks is not from 2 to {MAX_WEEKS}")
    return Weeks(every=every, first=_date(found[2]).date())


def _holidays(found: re.Match[str]) -> Days:
    if not found[1]:
        raise CalendarError(
            "name the country, such as “holidays DE”, or a part of it, as in “holidays GB-ENG”"
        )
    return PublicHolidays(region=public_holidays.region(found[1]))


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise CalendarError(f"there is no date {text.removeprefix(f'{_LEAP_YEAR}-')}") from None


def _clock(text: str) -> timedelta:
    return timedelta(minutes=_minutes(text))


def _minutes(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    if minute > 59 or hour * 60 + minute > DAY_MINUTES:
        raise CalendarError(f"there is no time {text}")
    return hour * 60 + minute


_WEEKDAY = "[A-Za-z]{3,9}"
_REGION = r"(\S+)"
_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Days]], ...] = (
    (re.compile(rf"{_DATE}(?: to {_DATE})?"), _dates),
    (re.compile(r"(\d\d-\d\d)(?: to (\d\d-\d\d))?"), _yearly),
    (re.compile(rf"(?:public )?holidays(?: (?:of |in )?{_REGION})?", re.IGNORECASE), _holidays),
    (
        re.compile(rf"(first|last) (working )?day(?: of the month)?(?: in {_REGION})?", re.IGNORECASE),
        _edge_of_month,
    ),
    (re.compile(rf"every (?:(\d+) weeks|second week|other week) from {_DATE}", re.IGNORECASE), _weeks),
    (re.compile(rf"{_WEEKDAY}(?: ?- ?{_WEEKDAY})?(?: ?, ?{_WEEKDAY}(?: ?- ?{_WEEKDAY})?)*"), _weekdays),
)
