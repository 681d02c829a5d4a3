"""What a schedule makes of calendars: which it leaves out, and to which it is limited. Pure.

The text form holds the calendars' entries as well, so that a schedule can be planned without reading anything
else.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from jobledger.calendars.errors import CalendarError
from jobledger.calendars.spans import DAY_MINUTES, Span, common, joined, without

if TYPE_CHECKING:
    from jobledger.calendars.calendar import Calendar

MAX_MOVE_DAYS = 31
"""How far a slot may be moved; what finds no free day until then is skipped."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of a day in which a schedule does not run, in minutes since midnight; the end is excluded."""

    begin: int
    end: int
    calendar: str = ""
    """The calendar that leaves it out; empty: it is outside those to which the schedule is limited."""
    name: str = ""
    """The calendar's entry, or the holiday."""

    @property
    def is_left_out(self) -> bool:
        """Whether slots in it are skipped or moved; otherwise, there are none."""
        return bool(self.calendar)

    @property
    def is_whole_day(self) -> bool:
        return self.end - self.begin == DAY_MINUTES


@dataclass(frozen=True, kw_only=True)
class CalendarUse:
    """The calendars of a schedule."""

    not_on: "tuple[Calendar, ...]" = ()
    """It does not run on any of these."""
    only_on: "tuple[Calendar, ...]" = ()
    """If there are any, it is only due on one of these."""
    is_moved: bool = False
    """Whether what is left out runs at the same time on the next day that is not."""

    def __bool__(self) -> bool:
        return bool(self.not_on or self.only_on)

    @classmethod
    def read(cls, text: str) -> "CalendarUse":
        """From its text form. Raises CalendarError."""
        return _read(text) if text else NO_CALENDARS

    @property
    def text(self) -> str:
        """Empty without calendars."""
        not_on, only_on = ([(each.name, each.text) for each in used] for used in (self.not_on, self.only_on))
        return text_of(not_on, only_on, is_moved=self.is_moved)

    def blocks(self, day: date) -> Sequence[Block]:
        """Where the schedule does not run on this day, in order."""
        return _blocks(self.not_on, self.only_on, day)


NO_CALENDARS = CalendarUse()
IS_MOVED = '"moved": true'
"""In a text form: what is left out is moved."""
NameAndEntries = tuple[str, str]


def text_of(not_on: Iterable[NameAndEntries], only_on: Iterable[NameAndEntries], *, is_moved: bool) -> str:
    """The text form, whether the entries are valid or not; empty without calendars."""
    values = {"not_on": sorted(not_on), "only_on": sorted(only_on), "moved": is_moved}
    return json.dumps(values) if values["not_on"] or values["only_on"] else ""


def names_in(text: str) -> dict[str, list[str]]:
    """The names of the calendars in a text form, valid or not: those under ``not_on`` and ``only_on``."""
    kinds = ("not_on", "only_on")
    try:
        values = json.loads(text) if text else {}
        return {kind: [str(name) for name, _ in values.get(kind, ())] for kind in kinds}
    except (ValueError, TypeError, AttributeError):
        # Written with SQL: beat renews the text soon.
        return {kind: [] for kind in kinds}


@lru_cache(maxsize=1024)
def _read(text: str) -> CalendarUse:
    # Most schedules have none: what reads their entries is imported with the first one that has.
    from jobledger.calendars.calendar import calendar

    try:
        values = json.loads(text)
        use = {name: tuple(calendar(*each) for each in values[name]) for name in ("not_on", "only_on")}
        return CalendarUse(**use, is_moved=bool(values["moved"]))
    except (TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        raise CalendarError(f"its calendars cannot be read: {error}") from error


@lru_cache(maxsize=16384)
def _blocks(not_on: "tuple[Calendar, ...]", only_on: "tuple[Calendar, ...]", day: date) -> Sequence[Block]:
    due = _covered(only_on, day) if only_on else [_ALL_DAY]
    blocks = list(_outside(due))
    covered: list[Span] = list(due)
    # The first calendar that covers a time is the one that leaves it out.
    for each in not_on:
        for span in each.spans(day):
            blocks += (
                Block(begin=part.begin, end=part.end, calendar=each.name, name=span.name)
                for part in common(covered, span)
            )
        covered = list(without(covered, each.spans(day)))
    return sorted(blocks, key=lambda block: block.begin)


_ALL_DAY = Span(begin=0, end=DAY_MINUTES, name="")


def _covered(calendars: "Iterable[Calendar]", day: date) -> list[Span]:
    # Without names, so that spans that touch are one.
    return joined(replace(span, name="") for each in calendars for span in each.spans(day))


def _outside(spans: Iterable[Span]) -> Iterator[Block]:
    begin = 0
    for span in spans:
        if begin < span.begin:
            yield Block(begin=begin, end=span.begin)
        begin = span.end
    if begin < DAY_MINUTES:
        yield Block(begin=begin, end=DAY_MINUTES)


def days_after(day: date) -> Iterator[date]:
    """The days on which something that falls on this day may run instead, in order."""
    return (day + timedelta(days=number) for number in range(1, MAX_MOVE_DAYS + 1))
