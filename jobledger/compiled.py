"""Statements that are compiled once, and executed with other values each time.

Django compiles a queryset whenever it is executed, which takes longer than a small statement itself. What a
worker sends for every run is therefore written as a queryset with a ``Given`` in place of each value that
changes, and compiled when it is first executed on a kind of database.

Django has no public API that compiles an update without executing it. Tests compare the statements with those
that Django executes.

On some connections, PostgreSQL prepares them as well (``prepared``). There, only the given values are
parameters: a plan for any value of a parameter cannot use an index whose condition names one of them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Expression, Field, Model, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.sql import Query, UpdateQuery

from jobledger import prepared

M = TypeVar("M", bound=Model)
T = TypeVar("T")
_Converter = tuple[int, Any, Callable[..., Any]]
"""The place of a column, the column, and what makes a field's value of what the database returns."""


class Given(Expression):
    """A value, or an expression without columns, that is given by name when the statement is executed."""

    def __init__(self, name: str, output_field: "Field[Any, Any]") -> None:
        super().__init__(output_field=output_field)
        self.name = name

    @classmethod
    def of(cls, model: type[Model], name: str) -> "Given":
        """A value of this field, by the field's name."""
        return cls(name, model._meta.get_field(name))  # type: ignore[arg-type]  # no reverse relation

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        return "%s", [self]

    def filled(self, value: Any, query: Query, connection: BaseDatabaseWrapper) -> tuple[str, Sequence[Any]]:
        """The SQL in its place, with its parameters."""
        if not hasattr(value, "resolve_expression"):
            return "%s", [self.output_field.get_db_prep_save(value, connection)]
        compiler = query.get_compiler(connection=connection)
        # SQL that refers to no column, such as the database's time, has nothing to resolve.
        resolved = value if isinstance(value, RawSQL) else value.resolve_expression(query)
        found: tuple[str, Sequence[Any]] = compiler.compile(resolved)
        return found


@dataclass(frozen=True, kw_only=True)
class _Compiled:
    """A statement for one kind of database."""

    given: Mapping[str, Given]
    pieces: Sequence[tuple[str, Sequence[Any], str]]
    """What comes before each given value, with the parameters in it, and the value's name."""
    end: tuple[str, Sequence[Any]]
    """What comes after the last one."""

    @classmethod
    def of(cls, sql: str, parameters: Sequence[Any]) -> Self:
        pieces, text, own = list[tuple[str, Sequence[Any], str]](), "", list[Any]()
        *texts, last = sql.split("%s")
        for before, parameter in zip(texts, parameters, strict=True):
            text += before
            if isinstance(parameter, Given):
                pieces.append((text, own, parameter.name))
                text, own = "", []
            else:
                text += "%s"
                own.append(parameter)
        given = {each.name: each for each in parameters if isinstance(each, Given)}
        return cls(given=given, pieces=pieces, end=(text + last, own))

    def literal(self, connection: BaseDatabaseWrapper) -> Self:
        """The same with all parameters in its text, but for the given values."""
        operations: Any = connection.ops  # only PostgreSQL's compose statements

        def composed(text: str, own: Sequence[Any]) -> str:
            return str(operations.compose_sql(text, own)).replace("%", "%%")

        pieces = [(composed(text, own), (), name) for text, own, name in self.pieces]
        return replace(self, pieces=pieces, end=(composed(*self.end), ()))

    def filled(
        self, values: Mapping[str, Any], query: Query, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[Any]]:
        filled = {name: each.filled(values[name], query, connection) for name, each in self.given.items()}
        texts, parameters = list[str](), list[Any]()
        for text, own, name in self.pieces:
            sql, of_value = filled[name]
            texts += text, sql
            parameters += *own, *of_value
        text, own = self.end
        return "".join((*texts, text)), [*parameters, *own]


class _Statement(Generic[M]):
    def __init__(self, model: type[M]) -> None:
        self._model, self._query = model, Query(model)
        self._compiled: dict[tuple[str, type, bool], _Compiled] = {}

    def _compile(self, connection: BaseDatabaseWrapper) -> tuple[str, Sequence[Any]]:
        raise NotImplementedError

    def _executed(self, values: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """What is read from the cursor then."""
        connection = self._connection()
        if prepared.is_ready(connection):
            with suppress(prepared.NotPreparedError):
                return prepared.execute(connection, *self._filled(values, connection, is_prepared=True), read)
        with connection.cursor() as cursor:
            cursor.execute(*self._filled(values, connection))
            return read(cursor)

    def _connection(self) -> BaseDatabaseWrapper:
        return connections[router.db_for_write(self._model)]

    def _filled(
        self, values: Mapping[str, Any], connection: BaseDatabaseWrapper, *, is_prepared: bool = False
    ) -> tuple[str, list[Any]]:
        # Of two threads, both may compile it.
        key = connection.alias, type(connection), is_prepared
        if (compiled := self._compiled.get(key)) is None:
            compiled = _Compiled.of(*self._compile(connection))
            compiled = self._compiled[key] = compiled.literal(connection) if is_prepared else compiled
        return compiled.filled(values, self._query, connection)


class Update(_Statement[M]):
    """An update of rows."""

    def __init__(self, model: type[M], update: Callable[[], tuple[QuerySet[M], Mapping[str, Any]]]) -> None:
        """``update`` returns the rows and the changes."""
        super().__init__(model)
        self._update = update

    def execute(self, **values: Any) -> int:
        """Returns how many rows have changed."""
        return self._executed(values, lambda cursor: int(cursor.rowcount))

    def _compile(self, connection: BaseDatabaseWrapper) -> tuple[str, Sequence[Any]]:
        rows, changes = self._update()
        query: Any = rows.query.chain(UpdateQuery)
        query.add_update_values(changes)
        found: tuple[str, Sequence[Any]] = query.get_compiler(connection=connection).as_sql()
        return found


class UpdateOne(Update[M]):
    """An update of one row at most, which is then known."""

    def __init__(self, model: type[M], update: Callable[[], tuple[QuerySet[M], Mapping[str, Any]]]) -> None:
        super().__init__(model, update)
        self._converters: dict[tuple[str, type], Sequence[_Converter]] = {}

    def row(self, **values: Any) -> M | None:
        """Execute it, and return the row as it is then; None if there is none."""
        found = self._executed(values, lambda cursor: cursor.fetchall())
        return self._object(found[0], self._connection()) if found else None

    def _compile(self, connection: BaseDatabaseWrapper) -> tuple[str, Sequence[Any]]:
        sql, parameters = super()._compile(connection)
        fields, quote = self._model._meta.concrete_fields, connection.ops.quote_name
        columns = ", ".join(quote(str(field.column)) for field in fields)
        return f"{sql} RETURNING {columns}", parameters

    def _object(self, columns: Sequence[Any], connection: BaseDatabaseWrapper) -> M:
        key, values = (connection.alias, type(connection)), list(columns)
        if key not in self._converters:
            self._converters[key] = _converters(self._model, connection)
        for place, column, convert in self._converters[key]:
            values[place] = convert(values[place], column, connection)
        return self._model.from_db(connection.alias, self._names, values)

    @cached_property
    def _names(self) -> Sequence[str]:
        return [field.attname for field in self._model._meta.concrete_fields]


def _converters(model: type[Model], connection: BaseDatabaseWrapper) -> Sequence[_Converter]:
    columns = [field.get_col(model._meta.db_table) for field in model._meta.concrete_fields]
    return [
        (place, column, convert)
        for place, column in enumerate(columns)
        for convert in (*connection.ops.get_db_converters(column), *column.get_db_converters(connection))
    ]


class Exists(_Statement[M]):
    """Whether there are rows."""

    def __init__(self, model: type[M], rows: Callable[[], QuerySet[M]]) -> None:
        super().__init__(model)
        self._rows = rows

    def execute(self, **values: Any) -> bool:
        return self._executed(values, lambda cursor: cursor.fetchone() is not None)

    def _compile(self, connection: BaseDatabaseWrapper) -> tuple[str, Sequence[Any]]:
        query = self._rows().query.exists()
        found: tuple[str, Sequence[Any]] = query.get_compiler(connection=connection).as_sql()
        return found


class Insert(_Statement[M]):
    """The insertion of a row, unless it would violate a unique constraint."""

    def __init__(self, model: type[M], *names: str) -> None:
        """With values for these fields."""
        super().__init__(model)
        self._names = names

    def execute(self, **values: Any) -> None:
        self._executed(values, lambda cursor: None)

    def _compile(self, connection: BaseDatabaseWrapper) -> tuple[str, Sequence[Any]]:
        given, quote = [Given.of(self._model, name) for name in self._names], connection.ops.quote_name
        columns = ", ".join(quote(str(each.output_field.column)) for each in given)
        values = ", ".join("%s" for _ in given)
        table = quote(self._model._meta.db_table)
        sql = f"INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING"  # noqa: S608 - only names
        return sql, given
