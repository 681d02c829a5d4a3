"""No child inherits a connection that a thread of its parent uses; and nobody waits for ever."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper

from tasks_app.jobs.models import ServiceProcess
from tasks_app.jobs.running import fork_gate, forks
from tasks_app.jobs.running.forks import between_forks, sqlite_between_forks, write_between_forks
from tests.unit.sqlite_files import garbage_left, in_a_file, locked, open_files

MOST_TURNS = 500


@contextmanager
def a_thread_inside() -> Iterator[threading.Event]:
    """A thread that uses the database until it is let go."""
    is_inside, go = threading.Event(), threading.Event()

    def stay() -> None:
        with between_forks():
            is_inside.set()
            go.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    assert is_inside.wait(30)
    try:
        yield go
    finally:
        go.set()
        thread.join()


def exit_code_of_a_child() -> int:
    """A child that enters itself, forks itself, and ends."""
    pid = os.fork()
    if pid == 0:
        with between_forks():
            pass
        os._exit(
            7 if (grandchild := os.fork()) == 0 else os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
        )
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Python warns of a fork beside threads, which is what this is about.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_until_no_thread_uses_the_database() -> None:
    order = []
    with a_thread_inside() as go:
        child = threading.Thread(target=lambda: order.append(exit_code_of_a_child()))
        child.start()
        # Nothing else would keep it that long.
        child.join(0.5)
        assert order == []
        go.set()
        child.join()
    assert order == [7]
    assert exit_code_of_a_child() == 7


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_that_are_inside_by_turns_do_not_keep_a_fork_waiting() -> None:
    threads: list[threading.Thread] = []
    is_forked = threading.Event()

    def begin() -> threading.Event:
        is_inside = threading.Event()
        threads.append(threading.Thread(target=go_in, args=[is_inside]))
        threads[-1].start()
        return is_inside

    def go_in(is_inside: threading.Event) -> None:
        with between_forks():
            is_inside.set()
            if not is_forked.is_set() and len(threads) < MOST_TURNS:
                # The next one comes in before this one leaves, unless a fork is first.
                begin().wait(0.5)

    assert begin().wait(30)
    assert exit_code_of_a_child() == 7
    turns = len(threads)
    is_forked.set()
    for thread in threads:
        thread.join()
    assert turns < MOST_TURNS


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_that_ctrl_c_ended_before_it_began_keeps_nobody_out() -> None:
    fork_gate.gate.open()
    with a_thread_inside():
        pass
    assert exit_code_of_a_child() == 7


def test_who_hangs_inside_keeps_nobody_else_out() -> None:
    with a_thread_inside(), a_thread_inside():
        pass


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_wait_for_ever_and_the_child_can_use_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fork_gate, "LONGEST_WAIT_SECONDS", 0.01)
    with a_thread_inside():
        assert exit_code_of_a_child() == 7


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
