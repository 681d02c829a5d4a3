"""Reads a run's output: head and tail, new output, matching lines, or all of it.

However long the output is, a page shows a limited number of characters and lines.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Left, Length, Right
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString, mark_safe

from jobledger.admin.runs.output.lines import Chunk, Line, LineReader, ReadPosition
from jobledger.escapes import ESCAPE_SEQUENCE, without_escape_sequences
from jobledger.models import Run, RunOutput, Stream

# Output up to this size is shown in full; of longer output, only the head and the tail.
MAX_CHARACTERS = 128 * 1024
HEAD_CHARACTERS = 32 * 1024
TAIL_CHARACTERS = 96 * 1024
HEAD_LINES = 500
TAIL_LINES = 1500
MAX_ROWS = 1000
# Not more than that together: otherwise, lines between would be in both.
HEAD_ROWS = 250
TAIL_ROWS = 750
MAX_MATCHES = 500
MAX_LINES_SEARCHED = 50_000
MAX_ESCAPE_BEGIN = 4096
MAX_MARKS = 2000
"""How many matches are highlighted; later matches are shown without highlighting."""


@dataclass(frozen=True, kw_only=True)
class InitialOutput:
    """The output when the page is loaded."""

    head: Sequence[Line]
    has_gap: bool
    """Whether lines between head and tail are omitted."""
    tail: Sequence[Line]
    """The lines after the gap. Empty if there is no gap, or if only the open line follows it."""
    open_line: Line | None
    end: ReadPosition
    size: int
    """The size of the attempt's whole output, in characters."""

    @property
    def is_empty(self) -> bool:
        return not (self.head or self.open_line)


@dataclass(frozen=True, kw_only=True)
class NewOutput:
    """Output after a position."""

    has_gap: bool
    """Whether lines are omitted: only the last ones are included."""
    lines: Sequence[Line]
    open_line: Line | None
    end: ReadPosition
    has_more: bool
    """Whether the database already has more output."""


@dataclass(frozen=True, kw_only=True)
class MatchingLine:
    """A line that contains the search text."""

    number: int
    line: Line
    html: SafeString


@dataclass(frozen=True, kw_only=True)
class MatchingLines:
    """The lines that contain the search text, up to a limit."""

    lines: Sequence[MatchingLine]
    has_more: bool
    is_partial: bool
    """Whether only the first ``MAX_LINES_SEARCHED`` lines were searched."""

    @property
    def searched(self) -> int:
        return MAX_LINES_SEARCHED


def initial_output(run: Run, attempt: int) -> InitialOutput:
    """An attempt's output: all of it, or its head and tail."""
    rows = _attempt_output(run, attempt)
    totals = rows.aggregate(size=Sum(Length("text")), count=Count("pk"))
    size, reader = totals["size"] or 0, LineReader(ReadPosition(attempt=attempt))
    is_long = size > MAX_CHARACTERS or totals["count"] > MAX_ROWS
    if not is_long:
        lines = list(reader.read(_chunks(rows.in_order())))
        is_long = len(lines) > HEAD_LINES + TAIL_LINES
        head, tail = (lines[:HEAD_LINES], lines[-TAIL_LINES:]) if is_long else (lines, [])
    else:
        head = list(islice(LineReader(ReadPosition(attempt=attempt)).read(_head(rows)), HEAD_LINES))
        tail = list(reader.read(_tail(rows)))[-TAIL_LINES:]
    return InitialOutput(
        head=head,
        has_gap=is_long,
        tail=tail,
        open_line=reader.open_line,
        end=reader.position,
        size=size,
    )


def new_output(run: Run, since: ReadPosition) -> NewOutput:
    """The output after the position, including that of later attempts."""
    later = Q(attempt__gt=since.attempt) | Q(attempt=since.attempt, number__gte=since.number)
    rows = RunOutput.objects.filter(later, run=run).in_order()[: MAX_ROWS + 1]
    chunks = list(_chunks(rows))
    begin, last = _last_of(chunks[:MAX_ROWS], since)
    reader = LineReader(begin)
    lines = list(reader.read(last))
    return NewOutput(
        has_gap=begin != since or len(lines) > TAIL_LINES,
        lines=lines[-TAIL_LINES:],
        open_line=reader.open_line,
        end=reader.position,
        has_more=len(chunks) > MAX_ROWS,
    )


def _last_of(chunks: Sequence[Chunk], since: ReadPosition) -> tuple[ReadPosition, Sequence[Chunk]]:
    """The last chunks, up to the size of the output that is shown at once, and where to begin in them."""
    size = 0
    for index in reversed(range(len(chunks))):
        chunk = chunks[index]
        size += len(chunk.text)
        if size > MAX_CHARACTERS:
            begin = ReadPosition(attempt=chunk.attempt, number=chunk.number, offset=size - MAX_CHARACTERS)
            is_later = (begin.attempt, begin.number, begin.offset) > (
                since.attempt,
                since.number,
                since.offset,
            )
            return (begin, chunks[index:]) if is_later else (since, chunks)
    return since, chunks


def matching_lines(run: Run, attempt: int, text: str) -> MatchingLines:
    """The lines of an attempt that contain the text, ignoring case; numbered from 1.

    Stops at the maximum number of lines, matches and characters for a page.
    """
    # Adjacent matches share a mark.
    pattern = re.compile(f"(?:{re.escape(text)})+", re.IGNORECASE)
    found: list[MatchingLine] = []
    marks, characters, number = MAX_MARKS, MAX_CHARACTERS, 0
    for number, line in enumerate(islice(_all_lines(run, attempt), MAX_LINES_SEARCHED + 1), start=1):
        if number > MAX_LINES_SEARCHED or not pattern.search(line.text):
            continue
        if len(found) == MAX_MATCHES or characters <= 0:
            return MatchingLines(lines=found, has_more=True, is_partial=False)
        html, marked = _highlight(line.text, pattern, marks)
        found.append(MatchingLine(number=number, line=line, html=html))
        marks, characters = marks - marked, characters - len(line.text)
    return MatchingLines(lines=found, has_more=False, is_partial=number > MAX_LINES_SEARCHED)


def as_text(run: Run, attempt: int | None = None, *, without_escapes: bool = False) -> Iterator[str]:
    """The whole output, optionally without escapes; with headings if there are several attempts."""
    rows = run.output.all() if attempt is None else _attempt_output(run, attempt)
    chunks = rows.in_order().only("attempt", "text").iterator(chunk_size=50)
    for number, group in groupby(chunks, key=attrgetter("attempt")):
        if attempt is None and run.attempt > 1:
            yield f"--- attempt {number} ---\n"
        texts = (chunk.text for chunk in group)
        yield from _without_escapes(texts) if without_escapes else texts


def _without_escapes(texts: Iterable[str]) -> Iterator[str]:
    """Also without those that begin in one text and end in the next."""
    rest = ""
    for text in texts:
        whole = rest + text
        last = ESCAPE_SEQUENCE.match(whole, whole.rfind("\x1b")) if "\x1b" in whole else None
        end = last.start() if last and last.end() == len(whole) else len(whole)
        # How it begins says where it ends, however long it is.
        rest = whole[end : end + MAX_ESCAPE_BEGIN]
        yield without_escape_sequences(whole[:end])


def _attempt_output(run: Run, attempt: int) -> Any:
    return RunOutput.objects.filter(run=run, attempt=attempt)


def _all_lines(run: Run, attempt: int) -> Iterator[Line]:
    reader = LineReader(ReadPosition(attempt=attempt), is_styled=False)
    yield from reader.read(_chunks(_attempt_output(run, attempt).in_order(), batch_size=50))
    if reader.open_line is not None:
        yield reader.open_line


def _chunks(rows: QuerySet[RunOutput], batch_size: int = MAX_ROWS + 1) -> Iterator[Chunk]:
    columns = rows.values_list("attempt", "number", "stream", "text")
    for attempt, number, stream, text in columns.iterator(chunk_size=batch_size):
        yield Chunk(attempt=attempt, number=number, stream=Stream(stream), text=text)


def _head(rows: Any) -> list[Chunk]:
    """The first chunks, up to the size of the head."""
    values = rows.in_order().annotate(part=Left("text", HEAD_CHARACTERS))
    return _up_to(HEAD_CHARACTERS, values[:HEAD_ROWS], from_end=False)


def _tail(rows: Any) -> list[Chunk]:
    """The last chunks, up to the size of the tail, in the order in which they were written."""
    values = rows.order_by("-attempt", "-number").annotate(part=Right("text", TAIL_CHARACTERS))
    return _up_to(TAIL_CHARACTERS, values[:TAIL_ROWS], from_end=True)[::-1]


def _up_to(limit: int, values: Any, *, from_end: bool) -> list[Chunk]:
    columns = values.values_list("attempt", "number", "stream", "part", Length("text"))
    chunks: list[Chunk] = []
    for attempt, number, stream, text, size in columns:
        part = text[-limit:] if from_end else text[:limit]
        begin = size - len(part) if from_end else 0
        chunks.append(Chunk(attempt=attempt, number=number, stream=Stream(stream), text=part, begin=begin))
        limit -= len(part)
        if limit <= 0:
            break
    return chunks


def _highlight(text: str, pattern: re.Pattern[str], limit: int) -> tuple[SafeString, int]:
    """The text with up to ``limit`` matches in ``<mark>``, and the number of matches."""
    parts, position, count = [], 0, 0
    for match in islice(pattern.finditer(text), limit):
        parts.append(conditional_escape(text[position : match.start()]))
        parts.append(format_html("<mark>{}</mark>", match[0]))
        position, count = match.end(), count + 1
    parts.append(conditional_escape(text[position:]))
    return mark_safe("".join(parts)), count  # noqa: S308 - each part is escaped above
