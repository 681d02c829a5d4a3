"""The service's own connection: no job sees it, and nothing that happens to it is noticed."""

import io
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import current_app
from celery.signals import task_prerun
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import DEFAULT_DB_ALIAS, connection, connections, transaction
from django.test import SimpleTestCase, TestCase
from pytest_django import DjangoDbBlocker

from jobledger.models import Run, Trigger
from jobledger.runs import dispatch, ledger_connection
from jobledger.runs.ledger_connection import (
    SharedConnections,
    job_begins,
    job_has_ended,
    kept_open,
    left_as_found,
)
from tests.unit.builders import make_user
from tests.unit.postgres import Server, server, server_or_skip
from tests.unit.sqlite_files import in_a_file, open_files
from tests.waiting import wait_until

own_connection = ledger_connection.ledger_connection


@pytest.fixture
def postgres(transactional_db: None) -> Iterator[Server]:
    with server_or_skip("SQLite has one writer at a time, and so one connection") as found:
        yield found


@pytest.fixture
def sqlite(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A file that is this thread's database."""
    with django_db_blocker.unblock(), in_a_file(path := str(tmp_path / "db.sqlite3")):
        yield path
        connection.close()


def session() -> int:
    """The number of the server's process at the other end."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def own_session() -> int:
    with own_connection():
        return session()


# PostgreSQL: a connection of its own.


def test_inside_the_block_the_thread_uses_another_connection(postgres: Server) -> None:
    usual = session()
    with own_connection():
        own = session()
        with own_connection():
            assert session() == own
    assert (session(), own != usual) == (usual, True)


def test_it_is_restored_after_an_error(postgres: Server) -> None:
    usual = connections["default"]
    with pytest.raises(CommandError), own_connection():
        raise CommandError
    assert connections["default"] is usual


def test_it_is_closed_after_the_block(postgres: Server) -> None:
    postgres.close_all()
    connection.close()
    with own_connection():
        session()
        assert postgres.sessions() == 1
    wait_until(lambda: postgres.sessions() == 0, what="it is closed")


def test_it_may_be_kept_open_until_the_next_block(postgres: Server) -> None:
    postgres.close_all()
    connection.close()
    with kept_open():
        assert own_session() == own_session()
        assert postgres.sessions() == 1
    wait_until(lambda: postgres.sessions() == 0, what="it is closed")


def test_it_survives_what_closes_all_of_the_threads_connections(postgres: Server) -> None:
    with kept_open():
        own = own_session()
        connections.close_all()
        assert own_session() == own


def test_after_an_error_a_new_one_is_opened(postgres: Server) -> None:
    with kept_open():
        own = own_session()
        with pytest.raises(KeyboardInterrupt), own_connection():
            raise KeyboardInterrupt
        assert own_session() != own


def test_one_that_the_server_has_closed_is_replaced(postgres: Server) -> None:
    with kept_open():
        own_session()
        postgres.close_all()
        wait_until(is_replaced, what="the end of the connection arrives")
        assert own_session()


def is_replaced() -> bool:
    """Whether the next block would open a new connection."""
    own = ledger_connection._own.connection
    assert own is not None
    return ledger_connection._may_be_lost(own, ledger_connection._own.used_at)


def test_one_that_was_idle_for_long_is_replaced(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_open():
        own = own_session()
        monkeypatch.setattr(ledger_connection, "MAX_IDLE_SECONDS", -1)
        assert own_session() != own


def test_no_query_is_needed_to_know_that_it_is_open(postgres: Server) -> None:
    statements: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        statements.append(sql)
        return execute(sql, *rest)

    with kept_open():
        for _ in range(2):
            with own_connection(), connection.execute_wrapper(note):
                session()
    assert statements == ["SELECT pg_backend_pid()"] * 2


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_that_a_job_forks_has_one_of_its_own(postgres: Server) -> None:
    connection.close()
    with kept_open():
        own = own_session()
        if (pid := os.fork()) == 0:
            try:
                os._exit(0 if own_session() != own else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert own_session() == own


def test_each_thread_has_one_of_its_own(postgres: Server) -> None:
    found: list[int] = []
    with own_connection():
        thread = threading.Thread(target=lambda: found.append(own_session()))
        thread.start()
        thread.join()
        assert found != [session()]


def test_its_settings_are_not_those_of_an_application(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.close()
    options = connection.settings_dict["OPTIONS"]  # such as the folder of the server's socket
    with monkeypatch.context() as changed:
        changed.setitem(connection.settings_dict, "AUTOCOMMIT", False)
        changed.setitem(connection.settings_dict, "OPTIONS", {**options, "pool": True})
        with own_connection():
            assert transaction.get_autocommit()
            assert connection.settings_dict["OPTIONS"] == options


def test_a_run_does_not_wait_for_the_transaction_of_its_caller(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "LOCK_TIMEOUT_SECONDS", 0.1)
    user = make_user()
    request = dispatch.RunRequest(job="probe", trigger=Trigger.JOB, user_id=user.pk)
    with transaction.atomic():
        get_user_model()._default_manager.select_for_update().get(pk=user.pk)
        with pytest.raises(Exception, match="lock timeout"):
            dispatch.begin(request, worker="w")
    assert dispatch.begin(request, worker="w").user_id == user.pk


# Another database than the default one.


class RunsElsewhere:
    """A router for a project that keeps all of the service's tables in another database."""

    def db_for_write(self, model: type, **hints: Any) -> str | None:
        return "elsewhere" if model is Run else None

    db_for_read = db_for_write


@pytest.fixture
def elsewhere(settings: Any, tmp_path: Path) -> Iterator[str]:
    settings.DATABASE_ROUTERS = [f"{__name__}.RunsElsewhere"]
    connections.settings["elsewhere"] = connections["default"].copy().settings_dict
    try:
        yield "elsewhere"
    finally:
        connections["elsewhere"].close()
        del connections["elsewhere"], connections.settings["elsewhere"]


def test_a_router_may_send_runs_to_another_database(postgres: Server, elsewhere: str) -> None:
    usual = {alias: connections[alias] for alias in ("default", elsewhere)}
    with own_connection():
        assert connections["default"] is connections[elsewhere]
        assert connection.alias == elsewhere
    assert {alias: connections[alias] for alias in usual} == usual


def test_a_thread_of_a_job_may_call_another_job(postgres: Server) -> None:
    connection.close()
    thread = threading.Thread(target=call_command, args=["probe"], kwargs={"stdout": io.StringIO()})
    thread.start()
    thread.join()
    wait_until(lambda: postgres.sessions() == 0, what="the thread's connections are closed")
    assert Run.objects.get().status == "succeeded"


# SQLite: the thread's usual connection, left as it was found.


def test_on_sqlite_a_connection_is_closed_unless_it_was_open(sqlite: str) -> None:
    with own_connection():
        connection.ensure_connection()
    assert sqlite not in open_files()
    connection.ensure_connection()
    with own_connection():
        pass
    assert sqlite in open_files()


def test_on_sqlite_a_transaction_is_shared_because_there_is_one_writer_at_a_time(sqlite: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE written (by TEXT)")
    with transaction.atomic():
        with own_connection(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO written VALUES ('service')")
        assert connection.in_atomic_block


def test_on_sqlite_a_connection_is_closed_after_an_error(sqlite: str) -> None:
    connection.ensure_connection()
    with pytest.raises(Exception, match="no such table"), own_connection(), connection.cursor() as cursor:
        cursor.execute("SELECT * FROM missing")
    assert connection.connection is None


def test_a_connection_that_was_open_stays_open(sqlite: str) -> None:
    connection.ensure_connection()
    with left_as_found(connections["default"]):
        pass
    assert connection.connection is not None


# SQLite in a worker's child: a connection of its own, between two jobs.


@pytest.fixture
def kept(sqlite: str) -> Iterator[str]:
    """The file of a thread that keeps it open between two jobs. None has run yet."""
    with kept_open():
        yield sqlite


def use() -> None:
    with own_connection(), connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM sqlite_master")


def test_on_sqlite_the_file_is_kept_open_between_two_jobs_and_closed_while_one_runs(kept: str) -> None:
    use()
    assert kept not in open_files()
    job_has_ended()
    use()
    assert (kept in open_files(), connection.connection) == (True, None)
    job_begins()
    assert kept not in open_files()
    use()
    assert kept not in open_files()


def test_on_sqlite_a_job_that_ends_while_nothing_is_kept_changes_nothing(sqlite: str) -> None:
    with kept_open():
        use()
    job_has_ended()
    with kept_open():
        use()
        assert sqlite not in open_files()


def test_on_sqlite_a_transaction_between_two_jobs_is_shared_as_well(kept: str) -> None:
    job_has_ended()
    with transaction.atomic(), own_connection():
        assert connection.in_atomic_block


def test_on_sqlite_a_database_in_memory_has_no_other_connection(kept: str, settings: Any) -> None:
    job_has_ended()
    connection.settings_dict["NAME"] = ":memory:"
    with own_connection():
        assert connection is not ledger_connection._own.connection
        used = connections[DEFAULT_DB_ALIAS]
    assert used is connections[DEFAULT_DB_ALIAS]


def test_on_sqlite_a_file_that_was_replaced_is_opened_anew(kept: str) -> None:
    Path(kept).touch()
    job_has_ended()
    use()
    Path(kept).rename(old := f"{kept}.old")
    Path(kept).touch()
    use()
    assert (kept in open_files(), old in open_files()) == (True, False)


def test_on_sqlite_a_file_that_is_gone_is_not_kept_open(kept: str) -> None:
    job_has_ended()
    use()
    Path(kept).unlink()
    use()
    assert kept in open_files()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_on_sqlite_a_child_that_a_job_forks_keeps_nothing_open(kept: str) -> None:
    use()
    if (pid := os.fork()) == 0:
        try:
            job_has_ended()
            use()
            os._exit(int(kept in open_files()))
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.parametrize(("name", "is_open"), [("probes.probe", True), ("tests.probes.tasks.add", False)])
def test_on_sqlite_the_file_is_closed_before_a_task_that_is_no_job(
    kept: str, name: str, *, is_open: bool
) -> None:
    current_app.loader.import_default_modules()
    ledger_connection.connect()
    job_has_ended()
    use()
    task_prerun.send(sender=current_app.tasks[name], task_id="1", task=current_app.tasks[name])
    assert (kept in open_files()) is is_open


# Django's test cases.


class ATestCase(TestCase):
    """As in a project that tests its jobs."""

    def test_a_job_leaves_a_row_that_only_the_test_sees(self) -> None:
        with transaction.atomic():
            call_command("probe", stdout=io.StringIO())
        assert Run.objects.get().status == "succeeded"
        if connection.vendor == "postgresql":
            with server() as found:
                assert found.execute("SELECT count(*) FROM jobledger_run") == [(0,)]


class ASimpleTestCase(SimpleTestCase):
    """Whose database may be the real one, because tests without one need no other."""

    def test_a_job_is_not_recorded(self) -> None:
        stderr = io.StringIO()
        call_command("probe", "word", stdout=io.StringIO(), stderr=stderr)
        assert re.match("This run is not recorded: Database .* not allowed", stderr.getvalue())


@pytest.fixture
def few(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedConnections]:
    """Connections that are shared by the threads of this process."""
    made = SharedConnections()
    monkeypatch.setattr(ledger_connection, "_shared", [made])
    monkeypatch.setattr(ledger_connection, "MAX_SHARED", 2)
    monkeypatch.setattr(ledger_connection, "LOOK_FOR_ENDED_SECONDS", 0.05)
    yield made
    for own, _ in made._idle:
        own.close()


def in_threads(count: int, action: Callable[[], object]) -> None:
    threads = [threading.Thread(target=action) for _ in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()


def test_many_threads_share_a_few_connections(few: SharedConnections) -> None:
    found: list[int] = []
    together = threading.Barrier(2, timeout=60)

    def work() -> None:
        for _ in range(3):
            with own_connection():
                found.append(session())
                together.wait()

    in_threads(6, work)
    assert (len(found), len(set(found))) == (18, 2)


def test_a_shared_one_is_lent_once_to_nested_blocks(few: SharedConnections) -> None:
    with own_connection():
        outer = session()
        with own_connection():
            assert session() == outer
        assert connection.connection is not None
    assert own_session() == outer


def test_a_shared_one_is_replaced_after_an_error(few: SharedConnections) -> None:
    before = own_session()
    with pytest.raises(KeyboardInterrupt), own_connection():
        raise KeyboardInterrupt
    assert own_session() != before


def test_what_an_interrupted_thread_has_not_given_back_is_taken_back(few: SharedConnections) -> None:
    def interrupted() -> None:
        few._take(connections[DEFAULT_DB_ALIAS])
        # An interrupt was raised before it was given back; then, the thread records the end of its run.
        found.append(own_session())

    def gone() -> None:
        few._take(connections[DEFAULT_DB_ALIAS])

    found: list[int] = []
    in_threads(1, interrupted)
    in_threads(2, gone)
    assert own_session()
    assert len(found) == 1


def test_the_heartbeats_keep_one_of_their_own(few: SharedConnections) -> None:
    with kept_open():
        own = own_session()
        assert (own_session(), few._idle) == (own, [])
