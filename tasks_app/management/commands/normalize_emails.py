"""Trims and lower-cases users' email addresses, writing only the rows that change.

Addresses are normalized in Python, because databases differ: SQLite lower-cases only ASCII, PostgreSQL
according to its locale. Rows are read in batches in the order of their primary keys, and the changes of a
batch are written in one transaction. A row that is changed by someone else in the meantime is left alone.
If the job is interrupted and run again, earlier batches need no more changes, and it continues.
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
    """A user's email address, as read from the database."""

    pk: Any
    email: str

    @property
    def needs_change(self) -> bool:
        return normalized(self.email) != self.email


class Command(JobCommand):
    help = "Trims and lower-cases users' email addresses. Writes only the rows that change."
    time_limit = timedelta(hours=1)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch-size",
            type=whole_number(1, MAX_BATCH_SIZE),
            default=1000,
            help="How many users to read and write per transaction (default: %(default)s).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count the changes without writing them.")

    def handle(self, *args: Any, batch_size: int, dry_run: bool, verbosity: int, **options: Any) -> None:
        """Process all users. At verbosity 2, report each batch."""
        checked = changed = 0
        for batch in _batches(batch_size):
            to_change = [row for row in batch if self._should_change(row)]
            checked += len(batch)
            changed += len(to_change) if dry_run else _write(to_change)
            if verbosity > 1:
                self.stdout.write(f"up to id {batch[-1].pk}: checked {checked} / changed {changed}")
        self.stdout.write(f"checked {checked} / changed {changed} ({'dry' if dry_run else 'commit'})")

    def _should_change(self, row: UserEmail) -> bool:
        if not row.needs_change:
            return False
        # Some letters are longer in lower case: such a row must not make its batch fail every night.
        max_length = _email_field().max_length
        if max_length is not None and len(normalized(row.email)) > max_length:
            self.stderr.write(f"User {row.pk}: not changed, because the email address would be too long.")
            return False
        return True


def normalized(email: str) -> str:
    return email.strip().lower()


def _batches(size: int) -> Iterator[list[UserEmail]]:
    users = get_user_model()._default_manager.order_by("pk").exclude(**{_email_field().name: None})
    rows = users.values_list("pk", _email_field().name)
    batch = rows[:size]
    while found := [UserEmail(pk=pk, email=email) for pk, email in batch]:
        yield found
        batch = rows.filter(pk__gt=found[-1].pk)[:size]


def _write(rows: list[UserEmail]) -> int:
    """Write the rows that have not changed since they were read; returns how many.

    Uses a single prepared statement: ``bulk_update`` builds an expression for each row, which takes forty
    times as long, and cannot compare rows with what was read.
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
