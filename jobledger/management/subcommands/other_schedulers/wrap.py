"""``jobledger wrap``: runs a line of a crontab that is still in charge, and records it.

It does not get here from a ``manage.py`` that calls ``jobledger.management.execute_from_command_line``,
except for its help.
"""

from argparse import REMAINDER, ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from jobledger.management.operator_command import OperatorCommand
from jobledger.wrap import relay
from jobledger.wrap.set_up import record


class Command(OperatorCommand):
    help = (
        "Run a line of a crontab, and record it. Changes nothing for cron: the line runs as without it, also "
        "if its run cannot be recorded, which is reported to syslog."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """For the help; ``jobledger.wrap.line`` reads them."""
        parser.add_argument("--name", help="The job's name, unless the line ends in a call of manage.py.")
        parser.add_argument(
            "line", nargs=REMAINDER, metavar="-- COMMAND LINE", help="In quotes, for the shell."
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """Ends this process."""
        if argv[2:3] in (["-h"], ["--help"]):
            super().run_from_argv(argv)
        relay.run(argv[2:], record)

    def handle(self, *args: Any, **options: Any) -> None:
        raise CommandError("wrap takes the place of its process: call it from the command line")
