"""Parts of a day, and what is left of some when others are taken away."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import pairwise

DAY_MINUTES = 24 * 60


@dataclass(frozen=True, kw_only=True)
class Span:
    """A part of a day, in minutes since midnight; the end is excluded."""

    begin: int
    end: int
    name: str


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


def common(spans: Iterable[Span], other: Span) -> Iterator[Span]:
    """The parts of the spans that the other one covers, with its name."""
    for span in spans:
        begin, end = max(span.begin, other.begin), min(span.end, other.end)
        if begin < end:
            yield Span(begin=begin, end=end, name=other.name)


def without(spans: Iterable[Span], others: Sequence[Span]) -> Iterator[Span]:
    """What the others leave of the spans. All are in order, and the others do not overlap."""
    for span in spans:
        begin = span.begin
        for other in others:
            if begin < min(other.begin, span.end):
                yield Span(begin=begin, end=min(other.begin, span.end), name=span.name)
            begin = max(begin, other.end)
        if begin < span.end:
            yield Span(begin=begin, end=span.end, name=span.name)


def _extend(found: list[Span], span: Span) -> None:
    if found and (found[-1].end, found[-1].name) == (span.begin, span.name):
        span = replace(span, begin=found.pop().begin)
    found.append(span)
