"""Runs as lines of text: tables on a terminal, and in a pipe what ``grep`` and ``cut`` can read."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TextIO, cast

from django.core.management.base import OutputWrapper
from django.utils import timezone
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobledger.escapes import escaped, escaped_lines
from jobledger.formats import exact
from jobledger.jobs import secrets
from jobledger.management import printing
from jobledger.models import FAILURES, PROBLEMS, Run, RunAttempt, RunOutput, Status, Stream
from jobledger.runs import reasons
from jobledger.runs.execution import progress

COLOURS = {
    Status.SUCCEEDED: "green",
    Status.RUNNING: "cyan",
    **dict.fromkeys(PROBLEMS, "yellow"),
    **dict.fromkeys(FAILURES, "red"),
}

_LINE = re.compile("[^\n]+")

Styled = Callable[[str], str]
"""Gives a text a colour, or leaves it as it is."""


def listed(runs: Iterable[Run]) -> Iterator[str]:
    """A line of tab-separated fields for each run."""
    return (printing.tab_separated(*_cells(run)) for run in runs)


def table(runs: Iterable[Run]) -> Table:
    """A row for each run, with the beginning of its id."""
    table = Table("run", "job", "status", "trigger", "started", "took", "why", box=None, header_style="bold")
    for run in runs:
        _, job, _, *rest = _cells(run)
        # Text, not markup: an error may hold square brackets.
        table.add_row(run.short_id, _text(job), _coloured(run), *map(_text, rest))
    return table


def fields(run: Run) -> Iterator[str]:
    """A line ``name: value`` for all that is known of a run; a value's further lines are indented."""
    for name, value in _fields(run):
        lines = "\n  ".join(map(escaped, value.splitlines()))
        yield f"{name}: {lines}"


def fields_table(run: Run) -> Table:
    """The same as a table."""
    grid = Table.grid(padding=(0, 2))
    for name, value in _fields(run):
        grid.add_row(Text(name, style="bold"), _coloured(run) if name == "status" else _text(value))
    return grid


def output(run: Run, styled: Styled) -> Iterator[str]:
    """All that a run wrote, in order and under a heading for each attempt; stderr is styled."""
    pieces = RunOutput.objects.filter(run=run).in_order().iterator()
    for attempt, group in groupby(pieces, key=attrgetter("attempt")):
        yield ""
        yield "output:" if run.attempt == 1 else f"output of attempt {attempt}:"
        yield from _lines(_styled(piece, styled) for piece in group)


def on_terminal(table: Table, stdout: OutputWrapper, *, no_color: bool) -> Iterator[str]:
    """A table as the lines that this terminal is wide enough for."""
    console = Console(file=cast("TextIO", stdout), no_color=no_color)
    with console.capture() as capture:
        console.print(table)
    return iter(capture.get().splitlines())


def _cells(run: Run) -> list[str]:
    when, why = exact(run.started_at or run.queued_at), reasons.short(run, timezone.now())
    return [str(run.pk), run.job, run.status, run.trigger, when, _took(run), why]


def _fields(run: Run) -> Iterator[tuple[str, str]]:
    """Names and values, those without a value left out."""
    found = {
        "id": str(run.pk),
        "job": run.job,
        "status": run.status,
        "reason": run.reason,
        "error": reasons.explanation(run),
        "exit_code": "" if run.exit_code is None else str(run.exit_code),
        "options": _options(run),
        "args": json.dumps(secrets.masked_args(run.args), ensure_ascii=False) if run.args else "",
        "trigger": run.trigger,
        "who": run.who,
        "schedule": run.schedule_name,
        "scheduled_for": _time(run.scheduled_for),
        "parent": str(run.parent_id or ""),
        "attempt": str(run.attempt),
        "queued_at": _time(run.queued_at),
        "started_at": _time(run.started_at),
        "finished_at": _time(run.finished_at),
        "took": _took(run),
        "worker": run.worker,
        "progress": progress.described(run),
        "cancelled_by": reasons.cancelled_by(run),
        **{f"attempt {each.attempt}": _ended(each) for each in run.attempts.order_by("attempt")},
        "traceback": run.traceback,
    }
    return ((name, value) for name, value in found.items() if value)


def _options(run: Run) -> str:
    shown = secrets.masked(run.job, run.options)
    return json.dumps(shown, ensure_ascii=False) if shown else ""


def _ended(attempt: RunAttempt) -> str:
    took = f" after {_took(attempt)}" if attempt.started_at else ""
    why = reasons.explanation(attempt)
    return f"{attempt.status} at {exact(attempt.finished_at)}{took}" + (f": {why}" if why else "")


def _time(time: datetime | None) -> str:
    return exact(time) if time else ""


def _took(ended: Run | RunAttempt) -> str:
    if not (ended.started_at and ended.finished_at):
        return ""
    return f"{(ended.finished_at - ended.started_at).total_seconds():.1f}s"


def _text(value: str) -> Text:
    return Text(escaped_lines(value))


def _coloured(run: Run) -> Text:
    return Text(run.status, style=COLOURS.get(Status(run.status), ""))


def _styled(piece: RunOutput, styled: Styled) -> str:
    if piece.stream != Stream.STDERR:
        return piece.text
    # Line by line: a colour that goes on over a line's end would leak when the reader stops there.
    return _LINE.sub(lambda line: styled(line[0]), piece.text)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Pieces of text as the lines that they make together."""
    open_line = ""
    for text in texts:
        *whole, open_line = (open_line + text).split("\n")
        yield from whole
    if open_line:
        yield open_line
