"""What the operator's commands share: a database that cannot be asked is a message, not a traceback."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, InterfaceError


class OperatorCommand(BaseCommand):
    """A command that reads or writes the ledger."""

    # A job that is broken must not keep an operator from looking.
    requires_system_checks = ()

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Where it cannot be asked: exit code 1 and what it said; ``--traceback`` shows the rest."""
        try:
            return super().execute(*args, **options)
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(f"The database cannot be asked: {_said(error)}") from error


def _said(error: Exception) -> str:
    text = str(error).strip()
    return f"{text}. Run `manage.py setup`." if "no such table" in text or "does not exist" in text else text
