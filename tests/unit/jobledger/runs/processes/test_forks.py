"""A fork waits for threads that use the database, and no child inherits their SQLite connection."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from django.db import OperationalError, connection, transaction
from django.db.backends.sqlite3.base import DatabaseWrapper

from jobledger.runs.processes import forks
from jobledger.runs.processes.forks import between_forks, release_cursors, write_between_forks
from tests.unit.sqlite_files import garbage_left, in_a_file, locked, open_files

pytestmark = [
    pytest.mark.django_db,
    # Python warns of forks in a process with threads, which is what these tests are about.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    """A file that is this thread's database."""
    with in_a_file(path := str(tmp_path / "db.sqlite3")):
        yield path


def exit_code_of_a_child() -> int:
    """Of a child that acquires the lock, forks, and exits."""
    pid = os.fork()
    if pid == 0:
        with forks._lock:
            pass
        is_grandchild = (grandchild := os.fork()) == 0
        os._exit(7 if is_grandchild else os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_fork_waits_for_a_thread_that_uses_the_database(path: str) -> None:
    order = []
    child = threading.Thread(target=lambda: order.append(exit_code_of_a_child()))
    with between_forks():
        child.start()
        # Nothing else would delay it for that long.
        child.join(0.5)
        assert order == []
    child.join()
    assert order == [7]
    assert exit_code_of_a_child() == 7


def test_children_and_threads_that_write_at_the_same_time_neither_hang_nor_lose_rows(path: str) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("CREATE TABLE written (by TEXT)")
    is_over, writes = threading.Event(), list[int]()

    def write_until_over() -> None:
        with in_a_file(path):
            while not is_over.wait(0.001):
                write_between_forks(lambda: write_row("thread"), within_seconds=60)
                writes.append(1)

    threads = [threading.Thread(target=write_until_over) for _ in range(2)]
    for thread in threads:
        thread.start()
    children = [forked(lambda: write_row("child")) for _ in range(10)]
    ended = [exits_with_success(pid) for pid in children]
    is_over.set()
    for thread in threads:
        thread.join()
    assert ended == [True] * len(children)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        counts = dict(file.execute("SELECT by, count(*) FROM written GROUP BY by").fetchall())
    assert counts == {"child": len(children), "thread": len(writes)}


def write_row(by: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 20000")
        cursor.execute("INSERT INTO written VALUES (%s)", [by])


def forked(write: Callable[[], None]) -> int:
    """Fork a child that writes with a connection of its own, and exits."""
    if (pid := os.fork()) == 0:
        exit_code = 1
        try:
            write()
            exit_code = 0
        finally:
            os._exit(exit_code)
    return pid


def exits_with_success(pid: int) -> bool:
    """Kills the child if it hangs."""
    process = psutil.Process(pid)
    try:
        return bool(process.wait(timeout=30) == 0)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def test_a_fork_is_under_way_from_when_it_waits_until_it_is_done(path: str) -> None:
    child = threading.Thread(target=exit_code_of_a_child)
    with between_forks():
        child.start()
        child.join(0.1)
        assert forks.is_under_way()
    child.join()
    assert not forks.is_under_way()


@pytest.mark.parametrize("receiver", ["child", "parent"])
def test_no_sigterm_is_lost_in_a_fork(receiver: str) -> None:
    script = SIGTERM_IN_A_FORK.format(hook={"child": "after_in_child", "parent": "before"}[receiver])
    # In a process of its own, because the hook has to be registered before the module's.
    ended = subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.PIPE, timeout=60)
    assert ended.stdout.decode().split() == {"child": ["-15"], "parent": ["raised"]}[receiver]


SIGTERM_IN_A_FORK = """
import os, signal

class Ended(BaseException): pass

def end(*args): raise Ended

signal.signal(signal.SIGTERM, end)
os.register_at_fork({hook}=lambda: os.kill(os.getpid(), signal.SIGTERM))

from jobledger.runs.processes import forks

with forks.children_end_at_sigterm():
    try:
        if (pid := os.fork()) == 0:
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    except Ended:
        print("raised")
"""


def test_a_child_and_its_parent_keep_the_signal_mask_of_the_parent() -> None:
    for before in (set(), {signal.SIGTERM}):
        outer = signal.pthread_sigmask(signal.SIG_SETMASK, before)
        try:
            if (pid := os.fork()) == 0:
                os._exit(signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, outer)


def test_a_fork_does_not_wait_long_for_a_thread_that_waits_for_another_process(path: str) -> None:
    with between_forks(), connection.cursor() as cursor:
        assert cursor.execute("PRAGMA busy_timeout").fetchone() == (forks.SQLITE_BUSY_TIMEOUT_MS,)


def test_no_connection_stays_open(path: str) -> None:
    with between_forks():
        assert path in open_files()
    assert path not in open_files()


def test_no_connection_stays_open_after_a_failed_statement(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forks, "SQLITE_BUSY_TIMEOUT_MS", 0)
    with garbage_left():
        refused = pytest.raises(OperationalError, match="locked")
        with locked(path), refused, between_forks(), transaction.atomic():
            pytest.fail("the database is locked")
        assert path not in open_files()


def test_no_connection_stays_open_that_could_not_be_opened_completely(tmp_path: Path) -> None:
    path = str(tmp_path / "db.sqlite3")
    with in_a_file(path, init_command="PRAGMA journal_mode = WAL"), garbage_left():
        refused = pytest.raises(OperationalError, match="locked")
        with locked(path), refused, between_forks():
            pytest.fail("the database is locked")
        assert path not in open_files()


def test_connections_to_other_databases_are_kept_and_delay_no_fork(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DatabaseWrapper, "vendor", "another")
    with between_forks():
        connection.ensure_connection()
        child = threading.Thread(target=exit_code_of_a_child)
        child.start()
        child.join()
    assert path in open_files()
    connection.close()


def test_a_write_that_fails_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "RETRY_SECONDS", 0)
    attempts = []

    def write() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise OperationalError("database is locked")

    write_between_forks(write, within_seconds=60)
    assert len(attempts) == 3


def test_a_write_that_keeps_failing_raises_its_error() -> None:
    def write() -> None:
        raise OperationalError("database is locked")

    with pytest.raises(OperationalError, match="locked"):
        write_between_forks(write, within_seconds=0)


def test_releasing_cursors_copes_with_errors_that_are_each_others_cause() -> None:
    one, other = OperationalError("one"), OperationalError("other")
    one.__cause__, other.__context__ = other, one
    release_cursors(one)


def test_cursors_are_released_along_causes_and_contexts() -> None:
    class Cursor:
        """Like one that keeps a connection open."""

    kept: list[weakref.ref[Cursor]] = []

    def fail() -> None:
        cursor = Cursor()
        kept.append(weakref.ref(cursor))
        raise OperationalError("locked")

    def fail_again() -> None:
        try:
            fail()
        except OperationalError:
            # Its context is hidden by its explicit cause.
            raise OperationalError("again") from ValueError("why")

    with pytest.raises(OperationalError) as raised:
        fail_again()
    assert kept[0]() is not None
    release_cursors(raised.value)
    assert kept[0]() is None
