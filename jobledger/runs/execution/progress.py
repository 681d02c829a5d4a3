"""Progress: how far a job has come, as a bar on a terminal and as figures on its run.

The figures are put where the run's heartbeat finds them, so counting costs no query.
"""

from collections.abc import Iterable, Iterator, Sized
from typing import Any, TextIO, TypeVar, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

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
    # The terminal itself: a bar is no output of the run.
    console = Console(file=cast("TextIO", _terminal(stream)))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task: TaskID = bar.add_task(description, total=total)
        for item in iterable:
            yield item
            bar.advance(task)


def _terminal(stream: Any) -> Any:
    """What lies behind Django's wrapper and the recording stream."""
    inner = wrapped_stream(stream)
    return getattr(inner, "passed_on", inner)
