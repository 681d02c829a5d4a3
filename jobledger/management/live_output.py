"""Follows a run: what it writes, as it comes, and what becomes of it, until it is over.

It only reads. A state is read before the output: when it is final, all output is in the database already.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Q, QuerySet

from jobledger.models import SUCCESSES, Run, RunOutput, Status, Stream
from jobledger.runs.execution.output import Piece

POLL_SECONDS = 0.5

START = (0, -1)
"""Before the first piece of the first attempt."""


@dataclass(frozen=True, kw_only=True)
class News:
    """What is new of a run since the last look."""

    run: Run
    pieces: Sequence[Piece]
    """What it wrote, and any change of its state as a line of stderr."""


def follow(run_id: UUID, wait: Callable[[], object]) -> Iterator[News]:
    """The run's output from its beginning, and its states; the last news has the run as it ended.

    ``wait`` is called between two looks at the database. Raises CommandError when the run is deleted.
    """
    position, said = START, ""
    while True:
        run = _look(run_id)
        pieces = []
        for row in _after(run, position).iterator():
            position = (row.attempt, row.number)
            pieces.append(Piece(stream=Stream(row.stream), text=row.text))
        if (state := _state(run)) != said:
            said = state
            pieces.append(Piece(stream=Stream.STDERR, text=f"Run {str(run_id)[:8]}: {state}\n"))
        if pieces:
            yield News(run=run, pieces=pieces)
        if Status(run.status).is_final:
            return
        wait()


def exit_code_of(run: Run) -> int:
    """The run's own; of one that has none, whether what was wanted has happened."""
    if run.exit_code is not None:
        return run.exit_code
    return 0 if run.status in SUCCESSES else 1


def _look(run_id: UUID) -> Run:
    run = Run.objects.filter(pk=run_id).defer("traceback").first()
    if run is None:
        raise CommandError(f"Run {run_id} was deleted")
    return run


def _after(run: Run, position: tuple[int, int]) -> QuerySet[RunOutput]:
    attempt, number = position
    later = Q(attempt__gt=attempt) | Q(attempt=attempt, number__gt=number)
    return RunOutput.objects.filter(later, run=run).in_order()


def _state(run: Run) -> str:
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    error = f": {run.error}" if run.error and Status(run.status).is_final else ""
    return f"{Status(run.status).label}{attempt}{error}"
