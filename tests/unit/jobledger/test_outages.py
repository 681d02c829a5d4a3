"""The database's error decides whether it is an outage, tested with errors of real databases."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.db.backends.postgresql.psycopg_any import is_psycopg3
from django.db.utils import DatabaseErrorWrapper

from jobledger.outages import is_outage, is_unanswered
from tests.unit.sqlite_files import in_a_file, locked

FAMILIES_OF_OUTAGES = {
    "03000": "statement not yet complete",
    "08006": "connection failure",
    "0A000": "a cached plan no longer fits the table",
    "0B000": "invalid transaction initiation",
    "0F000": "locator",
    "0L000": "invalid grantor",
    "0P000": "invalid role",
    "0Z000": "diagnostics",
    "24000": "invalid cursor state",
    "25006": "read-only",
    "25P02": "an error before in the transaction",
    "25P03": "idle for too long",
    "26000": "no such prepared statement",
    "28P01": "wrong password",
    "2B000": "dependent privileges",
    "2D000": "invalid transaction termination",
    "2F000": "routine",
    "34000": "no such cursor",
    "38000": "external routine",
    "39000": "invocation of an external routine",
    "3B000": "savepoint",
    "3D000": "no such database",
    "3F000": "no such schema",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "42501": "no permission",
    "42703": "no such column",
    "42P01": "no such table",
    "53100": "disk full",
    "53300": "too many connections",
    "55006": "object in use",
    "55P03": "lock not available",
    "57014": "query canceled",
    "57P01": "shutdown",
    "57P03": "cannot connect now",
    "58030": "I/O error",
    "72000": "snapshot too old",
    "F0000": "bad configuration file",
    "HV000": "foreign data wrapper",
    "XX000": "internal error",
    "XX001": "data corrupted",
}
FAMILIES_ABOUT_VALUES = {
    "09000": "triggered action",
    "10608": "invalid argument for XQuery",
    "20000": "case not found",
    "21000": "cardinality",
    "22001": "too long",
    "22003": "out of range",
    "22P02": "invalid text",
    "22P05": "no such character",
    "23502": "not null",
    "23503": "foreign key",
    "23505": "unique",
    "23514": "check",
    "27000": "triggered data change",
    "44000": "check option",
    "54000": "index row too large",
    "P0001": "raised by a trigger",
}


COMPLETIONS = {"00", "01", "02"}
"""Success, warnings and no data: PostgreSQL raises none of them as errors."""


def test_every_class_of_postgresqls_errors_is_tested() -> None:
    known = [getattr(each, "sqlstate", None) for each in vars(psycopg.errors).values()]
    classes = {sqlstate[:2] for sqlstate in known if isinstance(sqlstate, str)} - COMPLETIONS
    tested = {sqlstate[:2] for sqlstate in [*FAMILIES_OF_OUTAGES, *FAMILIES_ABOUT_VALUES]}
    assert classes == tested


def on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("for PostgreSQL")


@pytest.mark.django_db
@pytest.mark.parametrize("sqlstate", [*FAMILIES_OF_OUTAGES, *FAMILIES_ABOUT_VALUES])
def test_a_postgresql_error_is_classified_by_its_sqlstate(sqlstate: str) -> None:
    on_postgresql()
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{sqlstate}'; END $$"
    with pytest.raises(Error) as raised, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(raising)
    assert is_outage(raised.value) is (sqlstate in FAMILIES_OF_OUTAGES)


POSTGRESQL = {
    "read-only": ("SET LOCAL transaction_read_only = on; UPDATE jobledger_run SET job = ''", True),
    "no such column": ("SELECT nothing FROM jobledger_run", True),
    "no such table": ("SELECT 1 FROM jobledger_nothing", True),
    "no permission": ("CREATE ROLE weak; SET LOCAL ROLE weak; SELECT 1 FROM jobledger_run", True),
    "canceled": ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(60)", True),
    "out of range": ("SELECT 99999::smallint", False),
    "division": ("SELECT 1 / 0", False),
    "invalid text": ("SELECT 'x'::uuid", False),
    "two rows": ("SELECT (SELECT generate_series(1, 2))", False),
    "not null": ("INSERT INTO jobledger_run (id) VALUES (gen_random_uuid())", False),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", POSTGRESQL)
def test_what_postgresql_raises_itself(name: str) -> None:
    on_postgresql()
    statements, expected = POSTGRESQL[name]
    with pytest.raises(Error) as raised, transaction.atomic():
        execute(*statements.split("; "))
    assert is_outage(raised.value) is expected


ENDING = ("08006", "57P01", "57P03")
"""Of the families of outages, those after which the connection has ended."""


@pytest.mark.parametrize("sqlstate", [*FAMILIES_OF_OUTAGES, *FAMILIES_ABOUT_VALUES])
def test_only_a_connection_that_ends_leaves_a_statement_unanswered(sqlstate: str) -> None:
    error = OperationalError("no")
    error.__cause__ = psycopg.errors.lookup(sqlstate)("no")
    assert is_unanswered(error) is (sqlstate in ENDING)


def test_a_connection_that_ends_without_a_word_leaves_a_statement_unanswered() -> None:
    error = OperationalError("server closed the connection unexpectedly")
    error.__cause__ = psycopg.OperationalError("server closed the connection unexpectedly")
    assert is_unanswered(error)


@pytest.mark.django_db
def test_a_connection_that_never_was_leaves_no_statement_unanswered(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OperationalError("connection refused")

    never = connections.create_connection(DEFAULT_DB_ALIAS)
    monkeypatch.setattr(never, "get_new_connection", refuse)
    with pytest.raises(OperationalError) as raised:
        never.ensure_connection()
    assert is_outage(raised.value)
    assert not is_unanswered(raised.value)


@pytest.mark.django_db(transaction=True)
def test_a_closed_postgresql_connection_is_an_outage_even_when_used_again() -> None:
    on_postgresql()
    errors = []
    with connection.cursor() as cursor:
        for statement in "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1":
            with pytest.raises(Error) as raised:
                cursor.execute(statement)
            errors.append(is_outage(raised.value))
    connection.close()
    assert errors == [True, True]


@pytest.mark.django_db
@pytest.mark.parametrize("value", ["a\x00b", object()])
def test_a_value_that_psycopg_cannot_send_is_not_an_outage(value: Any) -> None:
    on_postgresql()
    with pytest.raises((Error, ValueError)) as raised, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT %s::text", [value])
    assert not is_outage(raised.value)


def test_a_postgresql_that_cannot_be_reached_is_an_outage() -> None:
    assert is_psycopg3
    wrapper = DatabaseErrorWrapper(_Wrapped(psycopg))
    with pytest.raises(Error) as raised, wrapper:
        psycopg.connect("postgresql://127.0.0.1:1/none", connect_timeout=5)
    assert is_outage(raised.value)


class _Wrapped:
    """What Django's error wrapper needs."""

    def __init__(self, driver: Any) -> None:
        self.Database = driver
        self.errors_occurred = False


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """A SQLite database with a table, and a connection of this thread to it."""
    path = str(tmp_path / "db.sqlite3")
    with closing(sqlite3.connect(path)) as file:
        file.executescript("CREATE TABLE t (id INTEGER PRIMARY KEY, one TEXT UNIQUE NOT NULL);")
    with in_a_file(path):
        yield path
        connection.close()


def driver() -> sqlite3.Connection:
    connection.ensure_connection()
    found: sqlite3.Connection = connection.connection
    return found


def execute(*statements: str, values: Any = ()) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement, values or None)


def while_locked(path: str) -> None:
    with locked(path):
        execute("INSERT INTO t VALUES (1, 'a')")


def without_its_folder(path: str) -> None:
    Path(path).unlink()
    Path(path).mkdir()
    execute("SELECT 1")


def overwritten(path: str) -> None:
    Path(path).write_text("no database " * 1000)
    execute("SELECT * FROM t")


def damaged(path: str) -> None:
    size = Path(path).stat().st_size
    with Path(path).open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * (size - 100))
    execute("SELECT * FROM t")


def full(path: str) -> None:
    execute("PRAGMA max_page_count = 1", "INSERT INTO t VALUES (1, hex(randomblob(100000)))")


def interrupted(path: str) -> None:
    driver().set_progress_handler(lambda: 1, 1)
    execute("SELECT count(*) FROM t, t AS u")


def not_authorized(path: str) -> None:
    driver().set_authorizer(lambda *args: sqlite3.SQLITE_DENY)
    execute("SELECT * FROM t")


def too_big(path: str) -> None:
    driver().setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    execute("INSERT INTO t VALUES (1, hex(randomblob(5000)))")


def closed(path: str) -> None:
    with connection.cursor() as cursor:
        driver().close()
        cursor.execute("SELECT 1")


def raising_function(path: str) -> None:
    driver().create_function("fail", 0, lambda: 1 / 0)
    execute("SELECT fail()")


def locked_by_itself(path: str) -> None:
    shared = sqlite3.connect("file::memory:?cache=shared", uri=True, isolation_level=None)
    other = sqlite3.connect("file::memory:?cache=shared", uri=True, isolation_level=None)
    with closing(shared), closing(other), connection.wrap_database_errors:
        shared.execute("CREATE TABLE s (x)")
        shared.execute("BEGIN IMMEDIATE")
        shared.execute("INSERT INTO s VALUES (1)")
        other.execute("SELECT * FROM s")


@pytest.mark.django_db
def test_a_commit_stays_unanswered_although_there_is_no_other_connection_either(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*args: object) -> None:
        raise OperationalError("server closed the connection unexpectedly")

    def refuse(*args: object) -> None:
        raise OperationalError("connection refused")

    def insert() -> None:
        with transaction.atomic():
            execute("INSERT INTO t VALUES (1, 'a')")
            for name, effect in {"_commit": end, "_rollback": end, "get_new_connection": refuse}.items():
                monkeypatch.setattr(connections[DEFAULT_DB_ALIAS], name, effect)

    with pytest.raises(OperationalError, match="refused") as raised:
        insert()
    assert is_unanswered(raised.value)


SQLITE_OUTAGES: dict[str, Callable[[str], None]] = {
    "busy": while_locked,
    "locked": locked_by_itself,
    "cannot open": without_its_folder,
    "no database": overwritten,
    "corrupt": damaged,
    "full": full,
    "interrupted": interrupted,
    "not authorized": not_authorized,
    "read-only": lambda path: execute("PRAGMA query_only = 1", "INSERT INTO t VALUES (1, 'a')"),
    "no such table": lambda path: execute("SELECT * FROM nothing"),
    "no such column": lambda path: execute("SELECT nothing FROM t"),
    "closed": closed,
}
SQLITE_ABOUT_VALUES: dict[str, Callable[[str], None]] = {
    "unique": lambda path: execute("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'a')"),
    "not null": lambda path: execute("INSERT INTO t VALUES (1, NULL)"),
    "mismatch": lambda path: execute("INSERT INTO t VALUES ('one', 'a')"),
    "too big": too_big,
    "malformed JSON": lambda path: execute("SELECT json_extract('{', '$.a')"),
    "overflow": lambda path: execute("SELECT abs(-9223372036854775808)"),
    "function": raising_function,
    "no such type": lambda path: execute("SELECT %s", values=[object()]),
    "too few values": lambda path: execute("SELECT %s, ?", values=[1]),
}


@pytest.mark.django_db
@pytest.mark.parametrize("name", SQLITE_OUTAGES)
def test_an_error_that_keeps_sqlite_from_working_is_an_outage(name: str, path: str) -> None:
    with pytest.raises(Error) as raised:
        SQLITE_OUTAGES[name](path)
    assert is_outage(raised.value), repr(raised.value)


@pytest.mark.django_db
@pytest.mark.parametrize("name", SQLITE_ABOUT_VALUES)
def test_a_value_that_sqlite_rejects_is_not_an_outage(name: str, path: str) -> None:
    with pytest.raises(Error) as raised:
        SQLITE_ABOUT_VALUES[name](path)
    assert not is_outage(raised.value), repr(raised.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OperationalError("the connection is closed"), True),
        (InterfaceError("connection already closed"), True),
        (InternalError("something is wrong"), True),
        (ProgrammingError("can't adapt type 'object'"), False),
        (DataError("PostgreSQL text fields cannot contain NUL (0x00) bytes"), False),
        (IntegrityError("twice"), False),
        (NotSupportedError("contains lookup is not supported"), False),
        (DatabaseError("Save with update_fields did not affect any rows."), False),
        (ConnectionError("of something else"), False),
    ],
)
def test_without_a_code_the_class_of_an_error_decides(error: Exception, expected: bool) -> None:
    assert is_outage(error) is expected
