"""``manage.py jobledger``: the operator's one command, which hands over to its subcommands.

Each module in ``jobledger/management/subcommands/`` is a subcommand of the same name. Its class ``Command``
is an ``OperatorCommand``, an ordinary Django command. Only the one that is named is imported; listing them
imports all.
"""

import difflib
import pkgutil
import sys
from argparse import (
    REMAINDER,
    SUPPRESS,
    Action,
    ArgumentParser,
    ArgumentTypeError,
    RawDescriptionHelpFormatter,
)
from importlib import import_module
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter

from jobledger.management import subcommands
from jobledger.management.operator_command import OperatorCommand

HANDED_OVER = ("stdout", "stderr", "verbosity", "traceback", "no_color", "force_color")
"""What ``call_command`` may be given beside the arguments."""


class Command(BaseCommand):
    """Finds the subcommand, and lets it do the rest."""

    help = "Operate the jobs: read, start and end runs, pause schedules, see what is due."
    requires_system_checks = ()

    def get_version(self) -> str:
        """The service's version."""
        return OperatorCommand().get_version()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """A parser of what comes before the subcommand's own arguments."""
        parser = super().create_parser(
            prog_name,
            subcommand,
            usage="%(prog)s [options] SUBCOMMAND ...",
            formatter_class=_HelpFormatter,
            add_help=False,
            **kwargs,
        )
        if Path(prog_name).name == subcommand:  # the console script of that name
            parser.prog = subcommand
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """The subcommand's name, and all that follows it."""
        parser.add_argument("-h", "--help", action=_PrintList, nargs=0, help="Show this list and exit.")
        parser.add_argument("subcommand", metavar="SUBCOMMAND", type=_known, help=SUPPRESS)
        parser.add_argument("arguments", nargs=REMAINDER, help=SUPPRESS).required = False

    def run_from_argv(self, argv: list[str]) -> None:
        """Hand over the whole command line, so that errors and exit codes are the subcommand's own."""
        parser = self.create_parser(*argv[:2])
        parser.called_from_command_line = True
        if len(argv) == 2:
            sys.stderr.write(_list(parser))
            sys.exit(2)
        parsed = parser.parse_args(argv[2:])
        before = argv[2 : len(argv) - len(parsed.arguments) - 1]
        command = load(parsed.subcommand)
        command.run_from_argv([parser.prog, parsed.subcommand, *before, *parsed.arguments])

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """The list of subcommands."""
        sys.stdout.write(_list(self.create_parser(prog_name, subcommand)))

    def execute(self, *args: Any, **options: Any) -> Any:
        """Hand over what ``call_command`` was given."""
        parser = self.create_parser("", "")
        given = {name: options[name] for name in HANDED_OVER if name in options}
        beside = {name: value for name, value in given.items() if value != parser.get_default(name)}
        return call_command(load(options["subcommand"]), *options["arguments"], **beside)


def names() -> list[str]:
    """The subcommands, in the order of the alphabet."""
    return sorted(module.name for module in pkgutil.iter_modules(subcommands.__path__))


def load(name: str) -> OperatorCommand:
    """The subcommand of this name."""
    command: OperatorCommand = import_module(f"{subcommands.__name__}.{name}").Command()
    return command


class _HelpFormatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Django's, which leaves the list's lines as they are."""


class _PrintList(Action):
    """``--help``; argparse's own would need the list while it builds the parser."""

    def __call__(self, parser: ArgumentParser, *args: Any) -> None:
        """Print it and exit."""
        sys.stdout.write(_list(parser))
        parser.exit()


def _list(parser: ArgumentParser) -> str:
    width = max(map(len, names())) + 2
    lines = [f"  {name:{width}}{load(name).summary}" for name in names()]
    parser.description = "\n".join([Command.help, "", "subcommands:", *lines])
    return parser.format_help()


def _known(name: str) -> str:
    """An argparse type: the name of a subcommand."""
    if name in names():
        return name
    similar = difflib.get_close_matches(name, names())
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"choose one of {', '.join(names())}"
    raise ArgumentTypeError(f"there is no {name!r}; {hint}")
