"""Runs as text: tables for a terminal, and plain lines for pipes to ``grep`` and ``cut``."""

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
from jobledger.formats import exact, seconds, size
from jobledger.jobs import secrets
from jobledger.management import printing
from jobledger.models import FAILURES, PROBLEMS, Run, RunAttempt, RunOutput, Status, Stream
from jobledger.runs import limits, reasons
from jobledger.runs.execution import progress
from jobledger.runs.processes import leftovers
from jobledger.runs.publishing import delivery

COLOURS = {
    Status.SUCCEEDED: "green",
    Status.RUNNING: "cyan",
    **dict.fromkeys(PROBLEMS, "yellow"),
    **dict.fromkeys(FAILURES, "red"),
}

_LINE = re.compile("[^\n]+")

Styled = Callable[[str], str]
"""Colours a text, or returns it unchanged."""


def listed(runs: Iterable[Run]) -> Iterator[str]:
    """Yield a line of tab-separated fields for each run."""
    return (printing.tab_separated(*_cells(run)) for run in runs)


def table(runs: Iterable[Run]) -> Table:
    """A table with a row for each run."""
    headers = ("run", "job", "status", "trigger", "started", "duration", "why")
    table = Table(*headers, box=None, header_style="bold")
    for run in runs:
        _, job, _, *rest = _cells(run)
        # Text, not markup: an error may contain square brackets.
        table.add_row(run.short_id, _text(job), _coloured(run), *map(_text, rest))
    return table


def fields(run: Run) -> Iterator[str]:
    """Yield a line ``name: value`` for each field of a run; continuation lines of a value are indented."""
    for name, value in _fields(run):
        lines = "\n  ".join(map(escaped, value.splitlines()))
        yield f"{name}: {lines}"


def fields_table(run: Run) -> Table:
    """The fields of a run as a table."""
    grid = Table.grid(padding=(0, 2))
    for name, value in _fields(run):
        grid.add_row(Text(name, style="bold"), _coloured(run) if name == "status" else _text(value))
    return grid


def output(run: Run, styled: Styled) -> Iterator[str]:
    """Yield the complete output of a run with a heading for each attempt; stderr is styled."""
    pieces = RunOutput.objects.filter(run=run).in_order().iterator()
    for attempt, group in groupby(pieces, key=attrgetter("attempt")):
        yield ""
        yield "output:" if run.attempt == 1 else f"output of attempt {attempt}:"
        yield from _lines(_styled(piece, styled) for piece in group)


def on_terminal(table: Table, stdout: OutputWrapper, *, no_color: bool) -> Iterator[str]:
    """Yield the lines of a table, as wide as the terminal."""
    console = Console(file=cast("TextIO", stdout), no_color=no_color)
    with console.capture() as capture:
        console.print(table)
    return iter(capture.get().splitlines())


def _cells(run: Run) -> list[str]:
    when, why = exact(run.started_at or run.queued_at), reasons.short(run, timezone.now())
    return [str(run.pk), run.job, run.status, run.trigger, when, _duration(run), why]


def _fields(run: Run) -> Iterator[tuple[str, str]]:
    """Yield names and values; empty values are left out."""
    found = {
        "id": str(run.pk),
        "job": run.job,
        "status": run.status,
        "reason": run.reason,
        "error": reasons.explanation(run),
        "exit_code": "" if run.exit_code is None else str(run.exit_code),
        "exit_signal": run.exit_signal,
        "options": _options(run),
        "args": json.dumps(secrets.masked_args(run.args), ensure_ascii=False) if run.args else "",
        "trigger": run.trigger,
        "user": run.username,
        "schedule": run.schedule_name,
        "scheduled_for": _time(run.scheduled_for),
        "parent": str(run.parent_id or ""),
        "queue": delivery.shown(run),
        "attempt": str(run.attempt),
        "time_limit": limits.described(run),
        "queued_at": _time(run.queued_at),
        "started_at": _time(run.started_at),
        "finished_at": _time(run.finished_at),
        "duration": _duration(run),
        "cpu_time": _cpu_time(run),
        "peak_memory": _peak_memory(run),
        "worker": run.worker,
        "progress": progress.described(run),
        "left_behind": leftovers.described(run),
        "cancelled_by": reasons.cancelled_by(run),
        **{f"attempt {each.attempt}": _ended(each) for each in run.attempts.order_by("attempt")},
        "traceback": reasons.without_secrets(run, run.traceback),
    }
    return ((name, value) for name, value in found.items() if value)


def _options(run: Run) -> str:
    masked = secrets.masked(run.job, run.options)
    return json.dumps(masked, ensure_ascii=False) if masked else ""


def _ended(attempt: RunAttempt) -> str:
    after = f" after {_duration(attempt)}" if attempt.started_at else ""
    cpu, memory = _cpu_time(attempt), _peak_memory(attempt)
    used = (f", CPU time {cpu}" if cpu else "") + (f", peak memory {memory}" if memory else "")
    why = reasons.explanation(attempt)
    return f"{attempt.status} at {exact(attempt.finished_at)}{after}{used}" + (f": {why}" if why else "")


def _time(time: datetime | None) -> str:
    return exact(time) if time else ""


def _duration(ended: Run | RunAttempt) -> str:
    if not (ended.started_at and ended.finished_at):
        return ""
    return f"{(ended.finished_at - ended.started_at).total_seconds():.1f}s"


def _cpu_time(row: Run | RunAttempt) -> str:
    return "" if row.cpu_seconds is None else seconds(row.cpu_seconds)


def _peak_memory(row: Run | RunAttempt) -> str:
    return "" if row.peak_memory_bytes is None else size(row.peak_memory_bytes)


def _text(value: str) -> Text:
    return Text(escaped_lines(value))


def _coloured(run: Run) -> Text:
    return Text(run.status, style=COLOURS.get(Status(run.status), ""))


def _styled(piece: RunOutput, styled: Styled) -> str:
    if piece.stream != Stream.STDERR:
        return piece.text
    # Each line by itself: if the reader stops in between, a colour that spans lines would leak.
    return _LINE.sub(lambda line: styled(line[0]), piece.text)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Join pieces of text and split them into lines."""
    incomplete = ""
    for text in texts:
        *complete, incomplete = (incomplete + text).split("\n")
        yield from complete
    if incomplete:
        yield incomplete
