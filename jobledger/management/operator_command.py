"""What the operator's subcommands share: a database that cannot be queried is a message, not a traceback."""

from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

import jobledger
from jobledger.escapes import encodable, escaped


class OperatorCommand(BaseCommand):
    """A subcommand of ``manage.py jobledger``, which reads or writes the ledger.

    To add one, add a module of its name to ``jobledger/management/subcommands/`` with a class ``Command``
    that has ``help``, ``add_arguments`` and ``handle`` like any Django command. The first sentence of
    ``help`` is its line in ``manage.py jobledger --help``.
    """

    # A job that is broken must not keep an operator from looking.
    requires_system_checks = ()

    @property
    def summary(self) -> str:
        """Its line in the list."""
        return self.help.partition(". ")[0].removesuffix(".")

    def get_version(self) -> str:
        """The service's version, not Django's."""
        return jobledger.__version__

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Report a database that cannot be queried: exit code 1 and its message, or ``--traceback``."""
        try:
            return super().execute(*args, **options)
        except CommandError as error:
            text = encodable(escaped(str(error)), self.stderr)
            raise CommandError(text, returncode=error.returncode) from error
        except Error as error:
            raise CommandError(f"The database cannot be queried: {_message(error)}") from error

    def say(self, text: str) -> None:
        """Print one line, whatever names are in it."""
        self.stdout.write(encodable(escaped(text), self.stdout))

    def warn(self, text: str) -> None:
        """The same on stderr, in an error's colour."""
        self.stderr.write(encodable(escaped(text), self.stderr))

    def remark(self, text: str, style: Callable[[str], str] = str) -> None:
        """The same on stderr, of what is no error."""
        self.stderr.write(encodable(escaped(text), self.stderr), style_func=style)


def _message(error: Exception) -> str:
    text = str(error).strip()
    is_unprepared = "no such table" in text or "does not exist" in text
    return f"{text}. Run `manage.py jobledger setup`." if is_unprepared else text
