"""The base class of ``manage.py jobledger``'s subcommands."""

import sys
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser, OutputWrapper
from django.db import Error

import jobledger
from jobledger.escapes import encodable, escaped
from jobledger.management import printing
from jobledger.outages import is_unanswered

UNKNOWN = "It has not answered: what was to be changed may be saved. Look before you repeat it."
MAX_EXCERPT = 50


class SeveralLinesError(CommandError):
    """Its message may have several lines, in which control characters are escaped already."""


class OperatorCommand(BaseCommand):
    """A subcommand of ``manage.py jobledger``.

    To add one, create a module of that name in a folder of ``jobledger/management/subcommands/`` with a class
    ``Command`` that has ``help``, ``add_arguments`` and ``handle`` like any Django command. The first
    sentence of ``help`` is its summary in ``manage.py jobledger --help``.
    """

    # A broken job must not keep operators from inspecting the system.
    requires_system_checks = ()

    @property
    def summary(self) -> str:
        """The first sentence of the help."""
        return self.help.partition(". ")[0].removesuffix(".")

    def get_version(self) -> str:
        """The version of jobledger instead of Django."""
        return jobledger.__version__

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Its help can be printed on any terminal."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        format_help = parser.format_help
        vars(parser)["format_help"] = lambda: encodable(format_help(), sys.stdout)
        return parser

    def run_from_argv(self, argv: list[str]) -> None:
        """When interrupted, print a single line and exit with the interrupt's exit code."""
        try:
            super().run_from_argv(argv)
        except KeyboardInterrupt:
            from jobledger.runs.outcome import INTERRUPTED_EXIT_CODE

            self.remark("Interrupted.")
            sys.exit(INTERRUPTED_EXIT_CODE)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Report a database error as a message with exit code 1; with ``--traceback``, as a traceback."""
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            text = str(error) if isinstance(error, SeveralLinesError) else escaped(str(error))
            raise CommandError(encodable(text, self.stderr), returncode=error.returncode) from error
        except UnicodeEncodeError as error:
            # Of a value, by the driver; another encoding is that of a stream.
            if error.encoding != "utf-8":
                raise
            text = escaped(str(error.object)[:MAX_EXCERPT])
            raise CommandError(f"“{text}” is not valid UTF-8, which no database stores") from error
        except Error as error:
            text = f"The database cannot be queried: {_message(error)}"
            if is_unanswered(error):
                text += f". {UNKNOWN}"
            raise CommandError(text) from error

    def say(self, text: str) -> None:
        """Print a line, with control characters escaped. Nobody may be reading it: what was done is done."""
        _write(self.stdout, text)

    def warn(self, text: str) -> None:
        """Print a line on stderr in the colour of errors. Again, nobody may be reading it."""
        _write(self.stderr, text)

    def remark(self, text: str, style: Callable[[str], str] = str) -> None:
        """Print a line on stderr that is not an error."""
        _write(self.stderr, text, style)

    def confirm(self, question: str, *, effect: str, otherwise: str) -> None:
        """Ask on the terminal. Raises CommandError if the answer is no, or nobody can answer."""
        if not sys.stdin.isatty():
            raise CommandError(f"{effect}; {otherwise}. Confirm that with --yes")
        # Not as the prompt, which would be part of the output: it may be in a file, or be JSON.
        _write(self.stderr, f"{question} [y/N] ", str, ending="")
        try:
            answer = input()
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError(otherwise)


def _write(
    stream: OutputWrapper, text: str, style: Callable[[str], str] | None = None, ending: str | None = None
) -> None:
    try:
        stream.write(encodable(escaped(text), stream), style_func=style, ending=ending)
        stream.flush()
    except OSError as error:
        printing.pass_over(stream, error)


def _message(error: Exception) -> str:
    text = str(error).strip()
    is_not_set_up = "no such table" in text or "does not exist" in text
    return f"{text}. Run `manage.py jobledger setup`." if is_not_set_up else text
