"""Trims and lower-cases the users' emails, writing only the rows that change.

The rule is Python's (``normalized``), not the database's: SQLite lower-cases ASCII alone, PostgreSQL
as its locale says. So rows are read a batch at a time in the order of their primary keys, and a batch's
changes are written in one transaction. A row that somebody changed after it was read keeps what they wrote.
Stopped and started again, the job finds the earlier batches as they should be and goes on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser
from django.db import connection, transaction

from jobledger import JobCommand
from tasks_app.parser_types import whole_number

MAX_BATCH_SIZE = 100_000


@dataclass(frozen=True, kw_only=True)
class UserEmail:
    """One user's email as it was read."""

    pk: Any
    email: str

    @property
    def changes(self) -> bool:
        """Whether it is not yet as it should be."""
        return normalized(self.email) != self.email


class Command(JobCommand):
    """The job ``normalize_emails``."""

    help = "Trims and lower-cases users' email addresses. Writes only the rows that change."
    time_limit = timedelta(hours=1)

    def add_arguments(self, parser: CommandParser) -> None:
        """``--batch-size`` and ``--dry-run``."""
        parser.add_argument(
            "--batch-size",
            type=whole_number(1, MAX_BATCH_SIZE),
            default=1000,
            help="How many users to read and write per transaction (default: %(default)s).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count the changes without writing them.")

    def handle(self, *args: Any, batch_size: int, dry_run: bool, verbosity: int, **options: Any) -> None:
        """Go through all users; at verbosity 2 each batch is reported."""
        checked = changed = 0
        for batch in _batches(batch_size):
            to_change = [row for row in batch if self._should_change(row)]
            checked += len(batch)
            changed += len(to_change) if dry_run else _write(to_change)
            if verbosity > 1:
                self.stdout.write(f"up to id {batch[-1].pk}: checked {checked} / changed {changed}")
        self.stdout.write(f"checked {checked} / changed {changed} ({'dry' if dry_run else 'commit'})")

    def _should_change(self, row: UserEmail) -> bool:
        if not row.changes:
            return False
        # Some letters are longer in lower case: one such row must not fail its batch every night.
        longest = _email_field().max_length
        if longest is not None and len(normalized(row.email)) > longest:
            self.stderr.write(f"User {row.pk}: the email would become too long; it stays as it is.")
            return False
        return True


def normalized(email: str) -> str:
    """The email as it should be stored."""
    return email.strip().lower()


def _batches(size: int) -> Iterator[list[UserEmail]]:
    users = get_user_model()._default_manager.order_by("pk").exclude(**{_email_field().name: None})
    rows = users.values_list("pk", _email_field().name)
    batch = rows[:size]
    while found := [UserEmail(pk=pk, email=email) for pk, email in batch]:
        yield found
        batch = rows.filter(pk__gt=found[-1].pk)[:size]


def _write(rows: list[UserEmail]) -> int:
    """Write the rows that still are as they were read, and say how many were.

    One prepared statement for all: ``bulk_update`` builds an expression per row, which takes
    forty times as long, and could not compare each row with what was read.
    """
    if not rows:
        return 0
    key = get_user_model()._meta.pk
    quote = connection.ops.quote_name
    table, email, pk = map(quote, (key.model._meta.db_table, _email_field().column, key.column))
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {table} SET {email} = %s WHERE {pk} = %s AND {email} = %s",  # noqa: S608
            [(normalized(row.email), key.get_db_prep_value(row.pk, connection), row.email) for row in rows],
        )
        return int(cursor.rowcount)


def _email_field() -> Any:
    user_model = get_user_model()
    return user_model._meta.get_field(user_model.get_email_field_name())
