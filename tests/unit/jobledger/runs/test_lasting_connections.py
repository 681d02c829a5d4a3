"""The connections of a process that looks often are kept, and replaced once they may be of no use."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from django.db import OperationalError, connection, connections, transaction
from pytest_django import DjangoDbBlocker

from jobledger.runs import lasting_connections
from jobledger.runs.lasting_connections import MAX_AGE_SECONDS, close_lost
from tests.unit.postgres import Server, server_or_skip
from tests.unit.sqlite_files import in_a_file, open_files


@pytest.fixture(autouse=True)
def kept() -> None:
    lasting_connections.keep()


@pytest.fixture
def sqlite(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Path]:
    """A file that is this thread's database."""
    path = tmp_path / "db.sqlite3"
    with django_db_blocker.unblock(), in_a_file(str(path)):
        yield path
        connection.close()


@pytest.fixture
def postgres(transactional_db: None) -> Iterator[Server]:
    with server_or_skip("SQLite has no server") as found:
        connection.close()
        yield found
    connection.close()


def ask(statement: str = "SELECT 1") -> Any:
    """Execute the statement on this thread's connection; returns the driver's connection."""
    with connection.cursor() as cursor:
        cursor.execute(statement)
    return connection.connection


def test_it_is_kept_from_one_look_to_the_next(sqlite: Path) -> None:
    opened = ask()
    close_lost()
    assert ask() is opened


def test_the_file_of_a_connection_is_not_left_open_for_longer_than_ten_minutes(
    sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask()
    now = monotonic()
    monkeypatch.setattr(lasting_connections, "monotonic", lambda: now + MAX_AGE_SECONDS + 1)
    close_lost()
    assert str(sqlite) not in open_files()


def test_a_file_that_was_replaced_is_opened_again(sqlite: Path) -> None:
    ask("CREATE TABLE old (x)")
    other = sqlite.with_name("restored")
    with closing(sqlite3.connect(other)) as file, file:
        file.execute("CREATE TABLE restored (x)")
    other.replace(sqlite)
    close_lost()
    ask("SELECT * FROM restored")


def test_a_file_that_is_gone_is_closed(sqlite: Path) -> None:
    ask()
    sqlite.unlink()
    close_lost()
    assert connection.connection is None


def test_a_connection_is_replaced_after_an_error(sqlite: Path) -> None:
    opened = ask()
    with pytest.raises(OperationalError):
        ask("SELECT * FROM missing")
    close_lost()
    assert ask() is not opened


def test_a_connection_in_a_transaction_is_left_alone(sqlite: Path) -> None:
    with transaction.atomic():
        opened = ask()
        sqlite.unlink()
        close_lost()
        assert connection.connection is opened


def test_what_was_opened_before_is_left_to_django(sqlite: Path) -> None:
    ask()
    lasting_connections._opened.pop(connections["default"])
    close_lost()
    assert connection.connection is None


@pytest.mark.django_db
def test_a_connection_that_the_server_has_closed_is_replaced(postgres: Server) -> None:
    opened = ask()
    close_lost()
    assert ask() is opened
    postgres.close_all()
    close_lost()
    assert ask() is not opened
