"""The base class of ``manage.py jobledger``'s subcommands."""

import sys
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

import jobledger
from jobledger.escapes import encodable, escaped
from jobledger.management import printing
from jobledger.outages import is_unanswered

UNKNOWN = "It has not answered: what was to be changed may be saved. Look before you repeat it."


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

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Report a database error as a message with exit code 1; with ``--traceback``, as a traceback."""
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            text = encodable(escaped(str(error)), self.stderr)
            raise CommandError(text, returncode=error.returncode) from error
        except Error as error:
            text = f"The database cannot be queried: {_message(error)}"
            if is_unanswered(error):
                text += f". {UNKNOWN}"
            raise CommandError(text) from error

    def say(self, text: str) -> None:
        """Print a line, with control characters escaped. Nobody may be reading it: what was done is done."""
        try:
            self.stdout.write(encodable(escaped(text), self.stdout))
            self.stdout.flush()
        except BrokenPipeError:
            printing.discard(self.stdout)

    def warn(self, text: str) -> None:
        """Print a line on stderr in the colour of errors."""
        self.stderr.write(encodable(escaped(text), self.stderr))

    def remark(self, text: str, style: Callable[[str], str] = str) -> None:
        """Print a line on stderr that is not an error."""
        self.stderr.write(encodable(escaped(text), self.stderr), style_func=style)

    def confirm(self, question: str, *, effect: str, otherwise: str) -> None:
        """Ask on the terminal. Raises CommandError if the answer is no, or nobody can answer."""
        if not sys.stdin.isatty():
            raise CommandError(f"{effect}; {otherwise}. Confirm that with --yes")
        try:
            answer = input(f"{question} [y/N] ")
        except (EOFError, KeyboardInterrupt):
            answer = ""
        if answer.strip().lower() not in ("y", "yes"):
            raise CommandError(otherwise)


def _message(error: Exception) -> str:
    text = str(error).strip()
    is_not_set_up = "no such table" in text or "does not exist" in text
    return f"{text}. Run `manage.py jobledger setup`." if is_not_set_up else text
