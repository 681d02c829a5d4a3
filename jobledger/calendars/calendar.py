"""A calendar by its name and its entries, and the parts of a day that it covers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache

from jobledger.calendars.entries import Entry, end_of, parse
from jobledger.calendars.spans import Span, joined


@dataclass(frozen=True, kw_only=True)
class Calendar:
    """A named set of days and times. Raises CalendarError if its entries are not valid."""

    name: str
    text: str
    """The entries, as they were written."""
    entries: tuple[Entry, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", parse(self.text))

    def spans(self, day: date) -> Sequence[Span]:
        """Which parts of the day it covers, in order; what touches has different names."""
        return _spans(self, day)

    @property
    def end(self) -> date | None:
        """The last day that it can cover; None if it has no end."""
        ends = [end_of(entry) for entry in self.entries]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == len(ends) else None


@lru_cache(maxsize=1024)
def calendar(name: str, text: str) -> Calendar:
    """The calendar; parsed only once. Raises CalendarError."""
    return Calendar(name=name, text=text)


@lru_cache(maxsize=16384)
def _spans(calendar: Calendar, day: date) -> Sequence[Span]:
    return joined(span for entry in calendar.entries for span in entry.spans(day))
