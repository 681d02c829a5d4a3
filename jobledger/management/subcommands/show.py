"""``jobledger show``: all that is known of one run; with ``--follow``, its output as it comes."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db.models import Q, QuerySet

from jobledger.escapes import escaped
from jobledger.management import arguments, printing, run_json, run_lines
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import SUCCESSES, Run, RunOutput, Status, Stream
from jobledger.runs import reasons
from jobledger.runs.execution.output import Piece
from jobledger.runs.outcome import INTERRUPTED_EXIT_CODE

POLL_SECONDS = 0.5

START = (0, -1)
"""Before the first piece of the first attempt."""


class Command(OperatorCommand):
    """A table on a terminal, plain lines in a pipe, or JSON."""

    help = "Show one run, its earlier attempts and its output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Which run, and in which format."""
        parser.add_argument("id", help=arguments.RUN_HELP)
        form = parser.add_mutually_exclusive_group()
        form.add_argument(
            "--follow",
            action="store_true",
            help="Print only its output, as it comes, until it ends; exit with its exit code.",
        )
        form.add_argument("--json", action="store_true", help="Print a JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Show it or follow it."""
        run = arguments.run(options["id"])
        if options["follow"]:
            self._follow(run.pk)
        elif options["json"]:
            printing.write_lines(self.stdout, [printing.json_text(run_json.in_full(run), indent=2)])
        else:
            self._show(run, no_color=options["no_color"])

    def _show(self, run: Run, *, no_color: bool) -> None:
        is_terminal = self.stdout.isatty()
        fields = run_lines.fields(run)
        if is_terminal:
            fields = run_lines.on_terminal(run_lines.fields_table(run), self.stdout, no_color=no_color)
        output = run_lines.output(run, styled=self.style.ERROR if is_terminal else str)
        printing.write_lines(self.stdout, chain(fields, output))

    def _follow(self, run_id: UUID) -> None:
        """Print its output to the same streams, and exit as it does; Ctrl-C stops only the following."""
        # The output has its own line ends, and a piece need not have one.
        self.stdout.ending = self.stderr.ending = ""
        streams = {Stream.STDOUT: self.stdout, Stream.STDERR: self.stderr}
        exit_code = 0
        try:
            for news in follow(run_id, partial(time.sleep, POLL_SECONDS)):
                for piece in news.pieces:
                    if not printing.write_lines(streams[piece.stream], [piece.text]):
                        return
                exit_code = exit_code_of(news.run)
        except KeyboardInterrupt:
            printing.write_lines(self.stderr, ["No longer followed; the run goes on.\n"])
            exit_code = INTERRUPTED_EXIT_CODE
        if exit_code:
            sys.exit(exit_code)


@dataclass(frozen=True, kw_only=True)
class News:
    """What is new of a run since the last look."""

    run: Run
    pieces: Sequence[Piece]
    """What it wrote, and any change of its status as a line of stderr."""


def follow(run_id: UUID, wait: Callable[[], object]) -> Iterator[News]:
    """The run's output from its beginning, and its states; the last news has the run as it ended.

    It only reads, and calls ``wait`` between two looks at the database. The status is read before the output:
    when it is final, all output is in the database already. Raises CommandError when the run is deleted.
    """
    position, reported = START, ""
    while True:
        run = _look(run_id)
        pieces = []
        for row in _after(run, position).iterator():
            position = (row.attempt, row.number)
            pieces.append(Piece(stream=Stream(row.stream), text=row.text))
        if (status := _status(run)) != reported:
            reported = status
            pieces.append(Piece(stream=Stream.STDERR, text=f"Run {run.short_id}: {status}\n"))
        if pieces:
            yield News(run=run, pieces=pieces)
        if Status(run.status).is_final:
            return
        wait()


def exit_code_of(run: Run) -> int:
    """The run's own; of a run without one, whether it did what was wanted."""
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


def _status(run: Run) -> str:
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    why = escaped(reasons.explanation(run))
    return f"{Status(run.status).label}{attempt}" + (f": {why}" if why else "")
