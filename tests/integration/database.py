"""A service's database from outside, by plain SQL without the service's code, and ways to disturb it."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import psycopg

from tests.integration.service import Service
from tests.waiting import wait_until


def is_sqlite(running: Service) -> bool:
    """Whether the service uses a SQLite file instead of a PostgreSQL server."""
    return running.database_url.startswith("sqlite")


def rows(running: Service, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """The result of a statement with ``?`` placeholders; its changes are committed."""
    if is_sqlite(running):
        plain = [_sqlite_text(value) if isinstance(value, datetime) else value for value in values]
        with closing(sqlite3.connect(sqlite_file(running), timeout=30)) as file, file:
            return file.execute(statement, plain).fetchall()
    with psycopg.connect(running.database_url, autocommit=True) as server:
        answer = server.execute(statement.replace("?", "%s").encode(), values)
        return answer.fetchall() if answer.description else []


@contextmanager
def connected(running: Service) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """What returns a query's rows, by one connection that stays open."""
    if is_sqlite(running):
        with closing(sqlite3.connect(sqlite_file(running), timeout=30)) as file:
            yield lambda query: file.execute(query).fetchall()
    else:
        with psycopg.connect(running.database_url, autocommit=True) as server:
            yield lambda query: server.execute(query.encode()).fetchall()


def can_write(running: Service) -> bool:
    """Whether a SQLite database can be written to, after a short wait at most."""
    try:
        with closing(sqlite3.connect(sqlite_file(running), timeout=2, isolation_level=None)) as file:
            file.execute("BEGIN IMMEDIATE")
            file.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    return True


def time_of(value: Any) -> datetime:
    """A time as either database returns it."""
    read = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def uuid_of(value: Any) -> UUID:
    """An id as either database returns it."""
    return value if isinstance(value, UUID) else UUID(value)


def sqlite_file(running: Service) -> Path:
    """The service's database file."""
    return Path(running.database_url.removeprefix("sqlite:///"))


@contextmanager
def database_away(running: Service) -> Iterator[None]:
    """Make all connections to the database fail inside the block, old and new."""
    with _folder_away(running) if is_sqlite(running) else _connections_refused(running):
        yield


@contextmanager
def sqlite_locked(running: Service) -> Iterator[None]:
    """Keep everyone else from writing to the database inside the block."""
    with closing(sqlite3.connect(sqlite_file(running), timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def database_hung(running: Service) -> Iterator[None]:
    """Block everyone who locks a run inside the block, or on SQLite, everyone who writes."""
    if is_sqlite(running):
        with sqlite_locked(running):
            yield
        return
    with psycopg.connect(running.database_url) as server:
        server.execute("LOCK TABLE jobledger_run IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def column_missing(running: Service) -> Iterator[None]:
    """Remove a column of the runs table inside the block, as in the middle of a migration."""
    rename = "ALTER TABLE jobledger_run RENAME COLUMN {} TO {}"
    rows(running, rename.format("finished_at", "elsewhere"))
    try:
        yield
    finally:
        rows(running, rename.format("elsewhere", "finished_at"))


@contextmanager
def postgres_read_only(running: Service) -> Iterator[None]:
    """Reject all writes inside the block, like a server that has become a standby."""
    name = _name_of_database(running)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        for setting in "on", "off":
            server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {setting}".encode())
            wait_until(lambda: _are_terminated(server, name), what="no old connection is left")
            if setting == "on":
                yield


def crash_postgres(running: Service) -> None:
    """Crash a server process, so that the server closes all connections, recovers and restarts."""
    with suppress(psycopg.OperationalError), psycopg.connect(running.database_url, autocommit=True) as server:
        ((pid,),) = server.execute("SELECT pg_backend_pid()").fetchall()
        server.execute(f"COPY (SELECT 1) TO PROGRAM 'kill -9 {pid}'".encode())
    wait_until(lambda: _answers(running), what="PostgreSQL is back")


def _answers(running: Service) -> bool:
    try:
        return bool(rows(running, "SELECT 1"))
    except psycopg.OperationalError:
        return False


@contextmanager
def _folder_away(running: Service) -> Iterator[None]:
    folder = sqlite_file(running).parent
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    try:
        yield
    finally:
        elsewhere.rename(folder)


@contextmanager
def _connections_refused(running: Service) -> Iterator[None]:
    name = _name_of_database(running)
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        wait_until(lambda: _are_terminated(server, name), what="no connection is left")
        try:
            yield
        finally:
            server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())


def _name_of_database(running: Service) -> str:
    return urlsplit(running.database_url).path.strip("/")


def _are_terminated(server: "psycopg.Connection[tuple[Any, ...]]", name: str) -> bool:
    terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    return not server.execute(terminate, [name]).fetchall()


def _sqlite_text(time: datetime) -> str:
    """As Django writes times into SQLite, where they are compared as text."""
    return str(time.astimezone(UTC).replace(tzinfo=None))
