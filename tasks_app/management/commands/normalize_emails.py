"""Trims and lower-cases users' email addresses, writing only the rows that change.

Addresses are normalized in Python, because databases differ: SQLite lower-cases only ASCII, PostgreSQL
according to its locale. Rows are read in batches in the order of their primary keys, and the changes of a
batch are written in one transaction. A row that is changed by someone else in the meantime is left alone.
If the job is interrupted and run again, earlier batches need no more changes, and it continues.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from django.contrib.auth import get_user_model
from django.core.management.base import CommandParser
from django.db import connection, transaction

from jobledger import JobCommand
from tasks_app.parser_types import whole_number

MAX_BATCH_SIZE = 100_000
# SQLite takes at most 32,766 parameters, three for each row and two more.
ROWS_PER_STATEMENT = 5000


class Change(NamedTuple):
    """An email address, as it was read and as it should be."""

    pk: Any
    email: str
    normalized: str


class Command(JobCommand):
    help = "Trims and lower-cases users' email addresses. Writes only the rows that change."
    time_limit = timedelta(hours=1)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--batch-size",
            type=whole_number(1, MAX_BATCH_SIZE),
            default=5000,
            help="How many users to read and write per transaction (default: %(default)s).",
        )
        parser.add_argument("--dry-run", action="store_true", help="Count the changes without writing them.")

    def handle(self, *args: Any, batch_size: int, dry_run: bool, verbosity: int, **options: Any) -> None:
        """Process all users. At verbosity 2, report each batch."""
        checked = changed = 0
        for batch in _batches(batch_size):
            changes = list(self._changes(batch))
            checked += len(batch)
            changed += len(changes) if dry_run else _write(changes)
            if verbosity > 1:
                last, _ = batch[-1]
                self.stdout.write(f"up to id {last}: checked {checked} / changed {changed}")
        self.stdout.write(f"checked {checked} / changed {changed} ({'dry' if dry_run else 'commit'})")

    def _changes(self, batch: list[tuple[Any, str]]) -> Iterator[Change]:
        max_length = _email_field().max_length
        for pk, email in batch:
            changed = normalized(email)
            if changed == email:
                continue
            # Some letters are longer in lower case: such a row must not make its batch fail every night.
            if max_length is not None and len(changed) > max_length:
                self.stderr.write(f"User {pk}: not changed, because the email address would be too long.")
                continue
            yield Change(pk, email, changed)


def normalized(email: str) -> str:
    return email.strip().lower()


def _batches(size: int) -> Iterator[list[tuple[Any, str]]]:
    """Primary keys and email addresses."""
    users = get_user_model()._default_manager.order_by("pk").exclude(**{_email_field().name: None})
    rows = users.values_list("pk", _email_field().name)
    batch = rows[:size]
    while found := list(batch):
        yield found
        batch = rows.filter(pk__gt=found[-1][0])[:size]


def _write(changes: list[Change]) -> int:
    """Write the rows that have not changed since they were read; returns how many."""
    with transaction.atomic(), connection.cursor() as cursor:
        return sum(
            _update(cursor, changes[start : start + ROWS_PER_STATEMENT])
            for start in range(0, len(changes), ROWS_PER_STATEMENT)
        )


def _update(cursor: Any, changes: list[Change]) -> int:
    """Write many rows by one statement.

    ``bulk_update`` builds an expression for each row, which takes forty times as long, and cannot compare
    rows with what was read.
    """
    key = get_user_model()._meta.pk
    quote = connection.ops.quote_name
    table, email, pk = map(quote, (key.model._meta.db_table, _email_field().column, key.column))
    keys = [each.pk for each in changes]
    if not isinstance(keys[0], int):  # which is stored as it is
        keys = [key.get_db_prep_value(each, cursor.db) for each in keys]
    source, values = _as_table(keys, changes)
    cursor.execute(
        f"UPDATE {table} SET {email} = changed.column3 FROM {source}"  # noqa: S608
        f" WHERE {table}.{pk} = changed.column1 AND {table}.{email} = changed.column2"
        # Without the range, PostgreSQL may read the whole table for each statement.
        f" AND {table}.{pk} BETWEEN %s AND %s",
        [*values, keys[0], keys[-1]],
    )
    return int(cursor.rowcount)


def _as_table(keys: list[Any], changes: list[Change]) -> tuple[str, list[Any]]:
    """A table of the changes, in SQL, and its parameters."""
    if connection.vendor == "postgresql":
        # Three parameters instead of three for each row. Of an array, PostgreSQL knows how long it is, but
        # drivers take long to quote texts in one.
        kind = get_user_model()._meta.pk.rel_db_type(connection)
        texts = [[each.email for each in changes], [each.normalized for each in changes]]
        source = (
            f"(SELECT unnest(%s::{kind}[]) AS column1, json_array_elements_text(%s) AS column2,"
            " json_array_elements_text(%s) AS column3) AS changed"
        )
        return source, [keys, *(json.dumps(column, ensure_ascii=False) for column in texts)]
    rows = ", ".join(["(%s, %s, %s)"] * len(changes))
    values = [
        value for key, each in zip(keys, changes, strict=True) for value in (key, each.email, each.normalized)
    ]
    return f"(VALUES {rows}) AS changed", values


def _email_field() -> Any:
    user_model = get_user_model()
    return user_model._meta.get_field(user_model.get_email_field_name())
