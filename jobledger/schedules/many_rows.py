"""Writing many rows at once: what ``bulk_create`` does, in a fraction of the time.

Django prepares every value of every row for the database by itself. The rows of one tick share most of their
values (a state, a moment, empty columns), so here each different value of a column is prepared once.

As with ``bulk_create``, no signal is sent and ``save`` is not called; defaults that only the database
knows are not asked for.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count, islice, repeat
from operator import attrgetter, is_
from typing import Any

from django.db import connection
from django.db.models import Field, Model

MOST_PARAMETERS = 20_000
"""Of one statement, where the database has no limit of its own."""


def insert_new(rows: Sequence[Model]) -> None:
    """Insert the rows, but for those that conflict with one that is there: it stays as it is."""
    _execute(rows, "ON CONFLICT DO NOTHING")


def insert_or_update(rows: Sequence[Model], update_fields: Sequence[str]) -> None:
    """Insert the rows; of those whose primary key is there, update these fields."""
    if rows:
        names = {field.name: _quoted(str(field.column)) for field in rows[0]._meta.local_concrete_fields}
        changes = ", ".join(f"{names[field]} = EXCLUDED.{names[field]}" for field in update_fields)
        _execute(rows, f"ON CONFLICT ({names[rows[0]._meta.pk.name]}) DO UPDATE SET {changes}")


@dataclass(frozen=True, kw_only=True)
class _Column:
    """A field's values as the database takes them: one for each row, or the one that all rows have."""

    name: str
    type: str
    values: list[Any]
    is_constant: bool


def _execute(rows: Sequence[Model], on_conflict: str) -> None:
    if not rows:
        return
    columns = [_column(field, rows) for field in rows[0]._meta.local_concrete_fields]
    into = _into(rows[0]._meta.db_table, columns)
    constants = [column.values[0] for column in columns if column.is_constant]
    varying = [column for column in columns if not column.is_constant]
    with connection.cursor() as cursor:
        for source, values in _sources(varying, len(constants)):
            # SQLite would take a conflict clause after a table for the condition of a join.
            cursor.execute(f"{into} FROM {source} WHERE true {on_conflict}", [*constants, *values])


def _into(table: str, columns: Sequence[_Column]) -> str:
    """What goes where: values that are the same for all rows are named once, the others come row by row."""
    names = ", ".join(_quoted(column.name) for column in columns)
    numbers = count(1)
    chosen = ", ".join("%s" if column.is_constant else f"column{next(numbers)}" for column in columns)
    return f"INSERT INTO {_quoted(table)} ({names}) SELECT {chosen}"


def _sources(columns: Sequence[_Column], other_parameters: int) -> Iterator[tuple[str, list[Any]]]:
    """Tables that have the columns ``column1``, ``column2``… and the parameters in them."""
    if connection.vendor == "postgresql":
        # An array for each column: one parameter instead of thousands.
        arrays = ", ".join(f"%s::{column.type}[]" for column in columns)
        names = ", ".join(f"column{number}" for number in range(1, len(columns) + 1))
        yield f"UNNEST({arrays}) AS varying({names})", [column.values for column in columns]
        return
    place = f"({', '.join(['%s'] * len(columns))})"
    most = ((connection.features.max_query_params or MOST_PARAMETERS) - other_parameters) // len(columns)
    rows = zip(*(column.values for column in columns), strict=True)
    while part := list(islice(rows, most)):
        yield f"(VALUES {', '.join([place] * len(part))}) AS varying", list(chain.from_iterable(part))


def _column(field: "Field[Any, Any]", rows: Sequence[Model]) -> _Column:
    values = list(map(attrgetter(field.attname), rows))
    values = list(_prepared(field, values[:1] if _is_constant(values) else values))
    # The primary key is there for every row.
    return _Column(
        name=str(field.column),
        # Without a length: a text that is too long is to be refused, not cut.
        type=str(field.db_type(connection)).partition("(")[0],
        values=values,
        is_constant=not field.primary_key and _is_constant(values),
    )


def _is_constant(values: Sequence[Any]) -> bool:
    return all(map(is_, values, repeat(values[0])))


def _prepared(field: "Field[Any, Any]", values: Iterable[Any]) -> Iterator[Any]:
    """Each different value is prepared once: equal ones come out as the same one."""
    known: dict[Any, Any] = {}
    for value in values:
        # A list or an object is known by being the same one. 1 equals True, but is stored differently.
        key = id(value) if isinstance(value, list | dict) else (type(value), value)
        if key not in known:
            known[key] = field.get_db_prep_save(value, connection)
        yield known[key]


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
