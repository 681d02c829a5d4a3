"""Progress: how far a job has come, as a bar on a terminal, as figures on its run, and in words.

The figures are put where the run's heartbeat finds them, so counting costs no query. In words they are as
old as the last heartbeat, and are read against it.
"""

from collections.abc import Iterable, Iterator, Sized
from datetime import timedelta
from typing import Any, TextIO, TypeVar, cast

from jobledger.models import Run, Status
from jobledger.runs.execution import runner
from jobledger.runs.execution.django_internals import wrapped_stream

T = TypeVar("T")


def track(iterable: Iterable[T], *, total: int | None, description: str, stream: Any) -> Iterator[T]:
    """The same items, counted; with a bar where the stream is a terminal."""
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
    # Imported by the first bar: a worker and most commands need none of it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # The terminal itself: a bar is not part of the run's output.
    console = Console(file=cast("TextIO", _terminal(stream)))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(description, total=total)
        for item in iterable:
            yield item
            bar.advance(task)


def _terminal(stream: Any) -> Any:
    """What lies behind Django's wrapper and the recording stream."""
    inner = wrapped_stream(stream)
    return getattr(inner, "passed_on", inner)


def described(run: Run) -> str:
    """Such as ``30 of 120 (25%), 2.5 a second, 0:00:36 left``; empty when the job counts nothing."""
    if run.progress_done is None:
        return ""
    rate = _per_second(run)
    parts = [_share(run.progress_done, run.progress_total)]
    if rate:
        parts.append(f"{rate:,.1f} a second")
    if rate and run.progress_total is not None and run.status == Status.RUNNING:
        parts.append(_left(max(run.progress_total - run.progress_done, 0) / rate))
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


def _left(seconds: float) -> str:
    if seconds > timedelta(days=100).total_seconds():
        return "more than 100 days left"
    return f"{timedelta(seconds=round(seconds))} left"
