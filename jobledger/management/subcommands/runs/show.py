"""``jobledger show``: shows everything about a run; with ``--follow``, its output as it is written."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from jobledger.escapes import escaped
from jobledger.management import arguments, printing, run_lines
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import SUCCESSES, Run, RunOutput, Status, Stream
from jobledger.runs import reasons, run_json
from jobledger.runs.outcome import INTERRUPTED_EXIT_CODE
from jobledger.runs.output.recorder import Piece

POLL_SECONDS = 0.5

START = (0, -1)
"""Before the first piece of the first attempt."""


class Command(OperatorCommand):
    """Prints a table on a terminal, plain lines in a pipe, or JSON."""

    help = "Show a run, its earlier attempts and its output."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", help=arguments.RUN_HELP)
        output = parser.add_mutually_exclusive_group()
        output.add_argument(
            "--follow",
            action="store_true",
            help="Print only the output, as it is written, until the run ends; then exit with its exit code.",
        )
        output.add_argument("--json", action="store_true", help="Print a JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        run = arguments.run(options["id"])
        if options["follow"]:
            if exit_code := print_until_end(self, run.pk):
                sys.exit(exit_code)
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


def print_until_end(command: BaseCommand, run_id: UUID) -> int:
    """Print a run's output to the same streams of a command; returns the run's exit code.

    Ctrl-C does not end the run.
    """
    # The output has its own line endings, and a piece need not end with one.
    command.stdout.ending = command.stderr.ending = ""
    streams = {Stream.STDOUT: command.stdout, Stream.STDERR: command.stderr}
    exit_code = 0
    try:
        for update in follow(run_id, partial(time.sleep, POLL_SECONDS)):
            for piece in update.pieces:
                if not printing.write_lines(streams[piece.stream], [piece.text]):
                    return 0
            exit_code = exit_code_of(update.run)
    except KeyboardInterrupt:
        return stopped(command)
    return exit_code


def stopped(command: BaseCommand) -> int:
    """Say that Ctrl-C did not end the run; returns the exit code."""
    printing.write_lines(command.stderr, ["Stopped following; the run continues.\n"])
    return INTERRUPTED_EXIT_CODE


@dataclass(frozen=True, kw_only=True)
class Update:
    """What is new since the previous poll."""

    run: Run
    pieces: Sequence[Piece]
    """What the run wrote, and any change of its status as a line on stderr."""


def follow(run_id: UUID, wait: Callable[[], object]) -> Iterator[Update]:
    """Yield the run's output from its start, and its states; the last update has the finished run.

    Polls the database and calls ``wait`` between two polls. The status is read before the output: if it is
    final, all output is already in the database. Raises CommandError if the run is deleted.
    """
    position, reported = START, ""
    while True:
        run = _read(run_id)
        pieces = []
        for row in RunOutput.objects.filter(run=run).after(*position).iterator():
            position = (row.attempt, row.number)
            pieces.append(Piece(stream=Stream(row.stream), text=row.text))
        if (status := _status(run)) != reported:
            reported = status
            pieces.append(Piece(stream=Stream.STDERR, text=f"Run {run.short_id}: {status}\n"))
        if pieces:
            yield Update(run=run, pieces=pieces)
        if run.is_over:
            return
        wait()


def exit_code_of(run: Run) -> int:
    """The run's own exit code; if it has none, 0 for success and 1 otherwise."""
    if run.exit_code is not None:
        return run.exit_code
    return 0 if run.status in SUCCESSES else 1


def _read(run_id: UUID) -> Run:
    run = Run.objects.filter(pk=run_id).defer("traceback").first()
    if run is None:
        raise CommandError(f"Run {run_id} was deleted")
    return run


def _status(run: Run) -> str:
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    why = escaped(reasons.explanation(run))
    return f"{Status(run.status).label}{attempt}" + (f": {why}" if why else "")
