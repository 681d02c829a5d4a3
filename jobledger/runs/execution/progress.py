"""A job's progress: as a bar on a terminal, as numbers on its run, and in words.

Counting costs no query: the run's heartbeat saves the numbers. They are as old as the last heartbeat, so the
description is based on its time.
"""

from collections.abc import Iterable, Iterator, Sized
from datetime import timedelta
from typing import Any, TextIO, TypeVar, cast

from jobledger.models import Run, Status
from jobledger.runs.django_internals import wrapped_stream
from jobledger.runs.execution import runner

T = TypeVar("T")


def track(iterable: Iterable[T], *, total: int | None, description: str, stream: Any) -> Iterator[T]:
    """Yield the items and count them; if the stream is a terminal, display a progress bar."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    counted = _counted(iterable, total)
    return _with_bar(counted, total, description, stream) if stream.isatty() else counted


def _counted(iterable: Iterable[T], total: int | None) -> Iterator[T]:
    figures = runner.current_progress()
    if figures is None:
        yield from iterable
        return
    figures.done, figures.total = 0, total
    for item in iterable:
        yield item
        figures.done += 1


def _with_bar(iterable: Iterable[T], total: int | None, description: str, stream: Any) -> Iterator[T]:
    # Imported on first use: workers and most commands do not need it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # Directly to the terminal: the bar is not part of the run's output.
    console = Console(file=cast("TextIO", _terminal(stream)))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total)
        for item in iterable:
            yield item
            bar.advance(task)


def _terminal(stream: Any) -> Any:
    """The stream behind Django's wrapper and the recording stream."""
    inner = wrapped_stream(stream)
    return getattr(inner, "passed_on", inner)


def described(run: Run) -> str:
    """Such as ``30 of 120 (25%), 2.5 per second, 0:00:36 left``; empty if the job reports no progress."""
    if run.progress_done is None:
        return ""
    rate = _per_second(run)
    parts = [_share(run.progress_done, run.progress_total)]
    if rate:
        parts.append(f"{rate:,.1f} per second")
    if rate and run.progress_total is not None and run.status == Status.RUNNING:
        parts.append(_time_left(max(run.progress_total - run.progress_done, 0) / rate))
    return ", ".join(parts)


def _share(done: int, total: int | None) -> str:
    if total is None:
        return f"{done:,}"
    share = f" ({done / total:.0%})" if total > 0 else ""
    return f"{done:,} of {total:,}{share}"


def _per_second(run: Run) -> float:
    if not (run.progress_done and run.started_at and run.heartbeat_at):
        return 0.0
    seconds = (run.heartbeat_at - run.started_at).total_seconds()
    return run.progress_done / seconds if seconds > 0 else 0.0


def _time_left(seconds: float) -> str:
    if seconds > timedelta(days=100).total_seconds():
        return "more than 100 days left"
    return f"{timedelta(seconds=round(seconds))} left"
