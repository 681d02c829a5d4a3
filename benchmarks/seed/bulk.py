"""Inserts very many rows as fast as each database can, without signals and without model instances."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import DateTimeField, Field, JSONField, Model

SQLITE_CACHE_KIB = 1_000_000


def insert(model: type[Model], fields: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert the rows into the model's table, in order; each has a value for each of the fields.

    Values are strings, numbers, datetimes and UUIDs. JSON must already be encoded. Other fields have
    their defaults.
    """
    defaults = _defaults(model, set(fields))
    names = [*(_column(model, field) for field in fields), *defaults]
    columns = ", ".join(map(connection.ops.quote_name, names))
    table = connection.ops.quote_name(model._meta.db_table)
    write = _copy if connection.vendor == "postgresql" else _execute_many
    others = tuple(defaults.values())
    with _without_indexes(model), transaction.atomic():
        write(table, columns, len(names), ((*row, *others) for row in rows))


def _defaults(model: type[Model], given: set[str]) -> dict[str, Any]:
    """The default, as the database takes it, of each column that must not be null and has no given value."""
    fields = [field for field in model._meta.concrete_fields if not (field.null or field.primary_key)]
    return {
        str(field.column): json.dumps(field.get_default())
        if isinstance(field, JSONField)
        else field.get_db_prep_save(field.get_default(), connection)
        for field in fields
        if field.name not in given
    }


def repeat(model: type[Model], count: int, period: timedelta) -> None:
    """Have PostgreSQL copy all rows this many times into the past, each time by another period."""
    fields, quote = model._meta.concrete_fields, connection.ops.quote_name
    columns = [quote(str(field.column)) for field in fields]
    values = [_shifted(field, column) for field, column in zip(fields, columns, strict=True)]
    table = quote(model._meta.db_table)
    periods: list[Any] = [period for field in fields if isinstance(field, DateTimeField)]
    with _without_indexes(model), transaction.atomic(), connection.cursor() as cursor:
        # The rows refer to what their originals refer to.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)}"
            f" FROM generate_series(%s, 1, -1) number, (SELECT * FROM {table} ORDER BY queued_at) original",
            [*periods, count],
        )


def copy(model: type[Model], count: int, changed: Mapping[str, str]) -> None:
    """Have the database copy all rows this many times. ``changed`` has the SQL of columns that differ, in
    which ``number`` is the copy's; what the rows refer to is not checked.
    """
    quote = connection.ops.quote_name
    names = [str(field.column) for field in model._meta.concrete_fields]
    columns, table = ", ".join(map(quote, names)), quote(model._meta.db_table)
    values = ", ".join(changed.get(name) or quote(name) for name in names)
    with _without_indexes(model), transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "WITH RECURSIVE copies(number) AS"
            " (SELECT 1 UNION ALL SELECT number + 1 FROM copies WHERE number < %s)"
            f" INSERT INTO {table} ({columns})"
            f" SELECT {values} FROM copies, (SELECT * FROM {table}) original",
            [count],
        )


def _shifted(field: "Field[Any, Any]", column: str) -> str:
    if field.primary_key:
        return "gen_random_uuid()"
    return f"{column} - number * %s" if isinstance(field, DateTimeField) else column


@contextmanager
def _without_indexes(model: type[Model]) -> Iterator[None]:
    """Drop the indexes and create them again afterwards, which is faster than updating them for each row."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA cache_size = -{SQLITE_CACHE_KIB}")
    with connection.schema_editor(atomic=False) as editor:
        for index in model._meta.indexes:
            editor.remove_index(model, index)
    yield
    with connection.schema_editor(atomic=False) as editor:
        for index in model._meta.indexes:
            editor.add_index(model, index)


def _column(model: type[Model], field: str) -> str:
    return str(getattr(model._meta.get_field(field), "column"))  # noqa: B009 - relations have none


def _copy(table: str, columns: str, width: int, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def _execute_many(table: str, columns: str, width: int, rows: Iterable[Sequence[Any]]) -> None:
    places = ", ".join(["%s"] * width)
    with connection.cursor() as cursor:
        statement = f"INSERT INTO {table} ({columns}) VALUES ({places})"
        # SQLite's driver takes an iterator, too.
        cursor.executemany(statement, _adapted(rows))  # type: ignore[arg-type]


def _adapted(rows: Iterable[Sequence[Any]]) -> Iterator[list[Any]]:
    """Convert values as Django's fields do where the database has no such type."""
    adapters: dict[type, Callable[[Any], Any]] = {
        UUID: lambda value: value.hex,
        # The same result as Django's, but without its lookups for each value.
        datetime: lambda value: value.astimezone(UTC).replace(tzinfo=None).isoformat(" "),
    }
    for row in rows:
        yield [adapt(value) if (adapt := adapters.get(type(value))) else value for value in row]
