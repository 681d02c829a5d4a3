"""Reads a run's output: its head and tail, what is new, the lines that contain a text, or all of it.

Whatever a page shows is a bounded amount of a long output, in a bounded number of lines.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Left, Length, Right
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from jobledger.admin.runs.output import ansi
from jobledger.admin.runs.output.lines import Chunk, Line, LineMaker, ReadPosition
from jobledger.models import Run, RunOutput, Stream

# An output up to this size is read as a whole, a longer one in these parts.
MAX_CHARACTERS = 128 * 1024
HEAD_CHARACTERS = 32 * 1024
TAIL_CHARACTERS = 96 * 1024
HEAD_LINES = 500
TAIL_LINES = 1500
MAX_ROWS = 1000
MAX_MATCHES = 500
MAX_LINES_SEARCHED = 100_000
MAX_MARKS = 2000
"""How many matches a page marks; the lines after them are shown without."""


@dataclass(frozen=True, kw_only=True)
class InitialOutput:
    """The output as the page shows it first."""

    head: Sequence[Line]
    tail: Sequence[Line]
    """What follows the gap; empty without a gap."""
    open_line: Line | None
    end: ReadPosition
    size: int
    """Of the whole attempt's output, in characters."""

    @property
    def has_gap(self) -> bool:
        """Whether lines between head and tail are left out."""
        return bool(self.tail)

    @property
    def is_empty(self) -> bool:
        return not (self.head or self.open_line)


@dataclass(frozen=True, kw_only=True)
class NewOutput:
    """What was written since a position."""

    has_gap: bool
    """Whether it is too much: only the last lines are here."""
    lines: Sequence[Line]
    open_line: Line | None
    end: ReadPosition
    has_more: bool
    """Whether there is more in the database already."""


@dataclass(frozen=True, kw_only=True)
class MatchingLine:
    """A line that contains the text."""

    number: int
    line: Line
    html: SafeString


@dataclass(frozen=True, kw_only=True)
class MatchingLines:
    """The lines that contain a text; the first ones if they are many."""

    lines: Sequence[MatchingLine]
    has_more: bool
    is_partial: bool
    """Whether only the first ``MAX_LINES_SEARCHED`` lines were searched."""

    @property
    def searched(self) -> int:
        return MAX_LINES_SEARCHED


def initial_output(run: Run, attempt: int) -> InitialOutput:
    """One attempt's output: all of it, or head and tail."""
    rows = _of_attempt(run, attempt)
    figures = rows.aggregate(size=Sum(Length("text")), count=Count("pk"))
    size, maker = figures["size"] or 0, LineMaker(ReadPosition(attempt=attempt))
    is_long = size > MAX_CHARACTERS or figures["count"] > MAX_ROWS
    if not is_long:
        lines = list(maker.read(_chunks(rows.in_order())))
        is_long = len(lines) > HEAD_LINES + TAIL_LINES
        head, tail = (lines[:HEAD_LINES], lines[-TAIL_LINES:]) if is_long else (lines, [])
    else:
        head = list(islice(LineMaker(ReadPosition(attempt=attempt)).read(_head(rows)), HEAD_LINES))
        tail = list(maker.read(_tail(rows)))[-TAIL_LINES:]
    return InitialOutput(head=head, tail=tail, open_line=maker.open_line, end=maker.position, size=size)


def new_output(run: Run, since: ReadPosition) -> NewOutput:
    """What the run wrote since the position, also in later attempts."""
    later = Q(attempt__gt=since.attempt) | Q(attempt=since.attempt, number__gte=since.number)
    rows = RunOutput.objects.filter(later, run=run).in_order()[: MAX_ROWS + 1]
    chunks = list(_chunks(rows))
    maker = LineMaker(since)
    lines = list(maker.read(chunks[:MAX_ROWS]))
    return NewOutput(
        has_gap=len(lines) > TAIL_LINES,
        lines=lines[-TAIL_LINES:],
        open_line=maker.open_line,
        end=maker.position,
        has_more=len(chunks) > MAX_ROWS,
    )


def matching_lines(run: Run, attempt: int, text: str) -> MatchingLines:
    """The lines of one attempt that contain the text in any case; numbered from one.

    Stops at as many lines, matches and characters as a page bears.
    """
    # Neighbouring matches share a mark.
    pattern = re.compile(f"(?:{re.escape(text)})+", re.IGNORECASE)
    found: list[MatchingLine] = []
    marks, characters, number = MAX_MARKS, MAX_CHARACTERS, 0
    for number, line in enumerate(islice(_all_lines(run, attempt), MAX_LINES_SEARCHED + 1), start=1):
        if number > MAX_LINES_SEARCHED or not pattern.search(line.text):
            continue
        if len(found) == MAX_MATCHES or characters <= 0:
            return MatchingLines(lines=found, has_more=True, is_partial=False)
        html, marked = _marked(line.text, pattern, marks)
        found.append(MatchingLine(number=number, line=line, html=html))
        marks, characters = marks - marked, characters - len(line.text)
    return MatchingLines(lines=found, has_more=False, is_partial=number > MAX_LINES_SEARCHED)


def as_text(run: Run, attempt: int | None = None, *, without_escapes: bool = False) -> Iterator[str]:
    """Everything, as it was written or without escapes, with a heading for each of several attempts."""
    rows = run.output.all() if attempt is None else _of_attempt(run, attempt)
    pieces = rows.in_order().only("attempt", "text").iterator(chunk_size=50)
    for number, group in groupby(pieces, key=attrgetter("attempt")):
        if attempt is None and run.attempt > 1:
            yield f"--- attempt {number} ---\n"
        yield from (ansi.without_escapes(piece.text) if without_escapes else piece.text for piece in group)


def _of_attempt(run: Run, attempt: int) -> Any:
    return RunOutput.objects.filter(run=run, attempt=attempt)


def _all_lines(run: Run, attempt: int) -> Iterator[Line]:
    maker = LineMaker(ReadPosition(attempt=attempt))
    yield from maker.read(_chunks(_of_attempt(run, attempt).in_order(), at_once=50))
    if maker.open_line is not None:
        yield maker.open_line


def _chunks(rows: QuerySet[RunOutput], at_once: int = MAX_ROWS + 1) -> Iterator[Chunk]:
    for row in rows.iterator(chunk_size=at_once):
        yield Chunk(attempt=row.attempt, number=row.number, stream=Stream(row.stream), text=row.text)


def _head(rows: Any) -> list[Chunk]:
    """The first pieces, up to the size of a head."""
    values = rows.in_order().annotate(part=Left("text", HEAD_CHARACTERS))
    return _up_to(HEAD_CHARACTERS, values, of_end=False)


def _tail(rows: Any) -> list[Chunk]:
    """The last pieces, up to the size of a tail, in the order of writing."""
    values = rows.order_by("-attempt", "-number").annotate(part=Right("text", TAIL_CHARACTERS))
    return _up_to(TAIL_CHARACTERS, values, of_end=True)[::-1]


def _up_to(limit: int, values: Any, *, of_end: bool) -> list[Chunk]:
    columns = values.annotate(size=Length("text")).values_list("attempt", "number", "stream", "part", "size")
    chunks: list[Chunk] = []
    for attempt, number, stream, text, size in columns[:MAX_ROWS]:
        part = text[-limit:] if of_end else text[:limit]
        begin = size - len(part) if of_end else 0
        chunks.append(Chunk(attempt=attempt, number=number, stream=Stream(stream), text=part, begin=begin))
        limit -= len(part)
        if limit <= 0:
            break
    return chunks


def _marked(text: str, pattern: re.Pattern[str], most: int) -> tuple[SafeString, int]:
    """The text with its first matches in ``<mark>``, and how many these are."""
    parts, position, count = [], 0, 0
    for match in islice(pattern.finditer(text), most):
        parts.append(conditional_escape(text[position : match.start()]))
        parts.append(format_html("<mark>{}</mark>", match[0]))
        position, count = match.end(), count + 1
    parts.append(conditional_escape(text[position:]))
    return mark_safe("".join(parts)), count  # noqa: S308 - each part is escaped above
