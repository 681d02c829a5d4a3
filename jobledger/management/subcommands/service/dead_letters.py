"""``jobledger dead_letters``: lists messages that workers could not process, newest first."""

from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from jobledger.escapes import escaped
from jobledger.formats import exact
from jobledger.management import arguments, printing, run_lines
from jobledger.management.operator_command import OperatorCommand
from jobledger.models import DeadLetter

COLUMNS = ("received", "queue", "task", "bytes", "worker", "why")


class Command(OperatorCommand):
    """Prints a table on a terminal, tab-separated lines in a pipe, or JSON."""

    help = "List messages that workers could not process, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--limit",
            type=arguments.count,
            default=20,
            help="The maximum number of messages. Default: %(default)s.",
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="Print a JSON list of objects, with the start of each message, which may contain secrets.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        letters = DeadLetter.objects.all()[: options["limit"]]
        if options["json"]:
            lines = printing.json_lines(map(_as_json, letters))
        elif self.stdout.isatty():
            lines = run_lines.on_terminal(_table(letters), self.stdout, no_color=options["no_color"])
        else:
            lines = (printing.tab_separated(*_cells(letter)) for letter in letters)
        printing.write_lines(self.stdout, lines)


def _table(letters: Iterable[DeadLetter]) -> Table:
    table = Table(*COLUMNS, box=None, header_style="bold")
    for letter in letters:
        table.add_row(*(Text(escaped(cell)) for cell in _cells(letter)))
    return table


def _cells(letter: DeadLetter) -> Iterator[str]:
    yield exact(letter.received_at)
    yield from (letter.queue, letter.task, str(letter.size), letter.worker, letter.reason)


def _as_json(letter: DeadLetter) -> Mapping[str, Any]:
    return {
        "id": str(letter.pk),
        "received_at": letter.received_at.isoformat(),
        "worker": letter.worker,
        "queue": letter.queue,
        "task": letter.task,
        "task_id": letter.task_id,
        "reason": letter.reason,
        "size": letter.size,
        "content": letter.content,
    }
