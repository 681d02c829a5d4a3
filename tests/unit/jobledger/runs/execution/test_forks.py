"""No child inherits a connection that a thread of its parent uses; and nobody waits for ever."""

import os
import threading
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper

from jobledger.models import ServiceProcess
from jobledger.runs.execution import forks
from jobledger.runs.execution.forks import between_forks, sqlite_between_forks, write_between_forks
from tests.unit.sqlite_files import garbage_left, in_a_file, locked, open_files


# Python warns of a fork beside threads, which is what this is about.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.django_db
def test_a_fork_waits_for_a_thread_between_forks() -> None:
    order: list[str] = []

    def fork() -> None:
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        order.append("forked")

    thread = threading.Thread(target=fork)
    with between_forks():
        thread.start()
        # Nothing else would keep it that long.
        thread.join(0.5)
        order.append("left")
    thread.join()
    assert order == ["left", "forked"]


@pytest.mark.django_db(transaction=True)
def test_inside_sqlite_is_not_waited_for_long_and_outside_as_usual() -> None:
    usual = connection.settings_dict["OPTIONS"].get("timeout")
    with between_forks():
        if connection.vendor == "sqlite":
            assert connection.settings_dict["OPTIONS"]["timeout"] == forks.SQLITE_PATIENCE_SECONDS
        ServiceProcess.objects.exists()
    assert connection.settings_dict["OPTIONS"].get("timeout") == usual


@pytest.mark.django_db
def test_a_statement_that_failed_does_not_keep_its_connection_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "SQLITE_PATIENCE_SECONDS", 0)
    path = str(tmp_path / "db.sqlite3")
    with in_a_file(path), garbage_left():
        refused = pytest.raises(OperationalError, match="locked")
        with locked(path), refused, between_forks(), transaction.atomic():
            pytest.fail("the database is locked")
        assert path not in open_files()


@pytest.mark.django_db
def test_sqlite_s_connection_is_closed_in_between(tmp_path: Path) -> None:
    with in_a_file(path := str(tmp_path / "db.sqlite3")):
        with sqlite_between_forks():
            connection.ensure_connection()
            assert path in open_files()
        assert path not in open_files()


@pytest.mark.django_db
def test_another_database_s_connection_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseWrapper, "vendor", "another")
    with in_a_file(path := str(tmp_path / "db.sqlite3")):
        with sqlite_between_forks():
            connection.ensure_connection()
        assert path in open_files()
        connection.close()


@pytest.mark.django_db
def test_what_the_database_refuses_is_written_a_little_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "REST_SECONDS", 0)
    tries = []

    def write() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise OperationalError("database is locked")

    write_between_forks(write, within_seconds=60)
    assert len(tries) == 3


@pytest.mark.django_db
def test_what_it_goes_on_refusing_is_raised() -> None:
    def write() -> None:
        raise OperationalError("database is locked")

    with pytest.raises(OperationalError, match="locked"):
        write_between_forks(write, within_seconds=0)
