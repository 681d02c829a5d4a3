"""``manage.py jobledger``: the operator's command, which delegates to its subcommands.

Each module in a folder of ``jobledger/management/subcommands/`` is a subcommand of the same name. Its class
``Command`` is an ``OperatorCommand``, an ordinary Django command. Running a subcommand imports only that
module; listing them imports all.
"""

import difflib
import os
import pkgutil
import sys
from argparse import (
    PARSER,
    SUPPRESS,
    Action,
    ArgumentError,
    ArgumentParser,
    Namespace,
    RawDescriptionHelpFormatter,
)
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter, OutputWrapper

from jobledger.management import printing, subcommands
from jobledger.management.operator_command import OperatorCommand

FORWARDED_OPTIONS = ("stdout", "stderr", "verbosity", "traceback", "no_color", "force_color")
"""Options of ``call_command`` that are passed on to the subcommand."""


class Command(BaseCommand):
    """Finds the subcommand and delegates to it."""

    help = "Operate jobs: inspect, start and cancel runs, pause schedules, and see what is due."
    requires_system_checks = ()

    def get_version(self) -> str:
        """The version of jobledger instead of Django."""
        return OperatorCommand().get_version()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """A parser for everything before the subcommand's own arguments."""
        parser = super().create_parser(
            prog_name,
            subcommand,
            usage="%(prog)s [options] SUBCOMMAND ...",
            formatter_class=_HelpFormatter,
            add_help=False,
            # They would also be looked for among the subcommand's own.
            allow_abbrev=False,
            **kwargs,
        )
        if Path(prog_name).name == subcommand:  # called through the console script
            parser.prog = subcommand
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Accept a subcommand and its arguments."""
        parser.add_argument("-h", "--help", action=_PrintList, nargs=0, help="Show this list and exit.")
        # Leaves what follows the name as it is, also a "--", which a REMAINDER after a name would lose.
        parser.add_argument("subcommand", metavar="SUBCOMMAND", action=_Choose, nargs=PARSER, help=SUPPRESS)

    def run_from_argv(self, argv: list[str]) -> None:
        """Pass on the whole command line, so that errors and exit codes are those of the subcommand."""
        _open_closed_streams()
        parser = self.create_parser(*argv[:2])
        parser.called_from_command_line = True
        if len(argv) == 2:
            _print_list(parser, sys.stderr)
            sys.exit(2)
        parsed = parser.parse_args(argv[2:])
        before = [word for word in argv[2 : len(argv) - len(parsed.arguments) - 1] if word != "--"]
        command = load(parsed.subcommand)
        command.run_from_argv([parser.prog, parsed.subcommand, *before, *parsed.arguments])

    def print_help(self, prog_name: str, subcommand: str) -> None:
        """Print the list of subcommands."""
        _print_list(self.create_parser(prog_name, subcommand), sys.stdout)

    def execute(self, *args: Any, **options: Any) -> Any:
        """Pass on what ``call_command`` was given."""
        parser = self.create_parser("", "")
        given = {name: options[name] for name in FORWARDED_OPTIONS if name in options}
        forwarded = {name: value for name, value in given.items() if value != parser.get_default(name)}
        return call_command(load(options["subcommand"]), *options["arguments"], **forwarded)


def names() -> list[str]:
    """The names of all subcommands, sorted."""
    return sorted(_modules())


def load(name: str) -> OperatorCommand:
    """Import a subcommand."""
    command: OperatorCommand = import_module(_modules()[name]).Command()
    return command


@cache
def _modules() -> dict[str, str]:
    """The module of each subcommand, by its name. Imports none of them."""
    return {
        module.name: f"{subcommands.__name__}.{folder.name}.{module.name}"
        for folder in pkgutil.iter_modules(subcommands.__path__)
        for module in pkgutil.iter_modules([f"{path}/{folder.name}" for path in subcommands.__path__])
    }


def _open_closed_streams() -> None:
    """Whoever closes a stream, as in ``>&-``, wants to neither read nor write anything."""
    null = Path(os.devnull)
    sys.stdin = sys.stdin or null.open(encoding="utf-8")
    sys.stdout = sys.stdout or null.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or null.open("w", encoding="utf-8")


class _HelpFormatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Django's formatter, without wrapping the lines of the list."""


class _PrintList(Action):
    """``--help``. argparse's own would need the list when the parser is created, and so import everything."""

    def __call__(self, parser: ArgumentParser, *args: Any) -> None:
        _print_list(parser, sys.stdout)
        parser.exit()


def _print_list(parser: ArgumentParser, stream: TextIO) -> None:
    printing.write_lines(OutputWrapper(stream), [_list(parser)])


class _Choose(Action):
    """The subcommand, and in ``arguments`` what follows it."""

    def __call__(self, parser: ArgumentParser, namespace: Namespace, values: Any, *args: Any) -> None:
        name, *namespace.arguments = values if values[0] != "--" else values[1:]
        if name not in names():
            raise ArgumentError(self, _unknown(name))
        namespace.subcommand = name


def _list(parser: ArgumentParser) -> str:
    width = max(map(len, names())) + 2
    lines = [f"  {name:{width}}{load(name).summary}" for name in names()]
    parser.description = "\n".join([Command.help, "", "subcommands:", *lines])
    return parser.format_help()


def _unknown(name: str) -> str:
    similar = difflib.get_close_matches(name, names())
    hint = f"did you mean {' or '.join(similar)}?" if similar else f"choose one of {', '.join(names())}"
    return f"unknown subcommand {name!r}; {hint}"
