"""A calendar by its name and its entries, and the parts of a day that it covers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from heapq import heappop, heappush
from itertools import pairwise

from jobledger.calendars.entries import Entry, Span, end_of, parse


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


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same times as spans in order that do not overlap; those that touch have different names.

    Each time has the name of the longest span that covers it, the earliest or first one given if several are.
    """
    waiting = sorted(spans, key=lambda span: span.begin, reverse=True)
    edges = sorted({edge for span in waiting for edge in (span.begin, span.end)})
    covering: list[tuple[int, int, int, Span]] = []
    found: list[Span] = []
    for begin, end in pairwise(edges):
        while waiting and waiting[-1].begin == begin:
            span = waiting.pop()
            # Of equal spans, the first one given is taken from the end last.
            heappush(covering, (span.begin - span.end, span.begin, len(waiting), span))
        while covering and covering[0][-1].end <= begin:
            heappop(covering)
        if covering:
            _extend(found, Span(begin=begin, end=end, name=covering[0][-1].name))
    return found


def _extend(found: list[Span], span: Span) -> None:
    if found and (found[-1].end, found[-1].name) == (span.begin, span.name):
        span = replace(span, begin=found.pop().begin)
    found.append(span)


@lru_cache(maxsize=16384)
def _spans(calendar: Calendar, day: date) -> Sequence[Span]:
    return joined(span for entry in calendar.entries for span in entry.spans(day))
