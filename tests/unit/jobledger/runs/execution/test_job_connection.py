"""A job's database connection is its own: opened by its first query, and closed after its last one."""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction

from jobledger.models import Run, RunOutput, Trigger
from jobledger.runs.execution import runner
from jobledger.runs.ledger_connection import kept_open
from tests.probes.management.commands.probe import Command
from tests.unit.postgres import Server, server_or_skip
from tests.unit.side_by_side import side_by_side
from tests.unit.sqlite_files import open_files
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def postgres() -> Iterator[Server]:
    with server_or_skip("a SQLite connection is a file, which nobody else closes") as found:
        connection.close()
        yield found


def executed(**options: Any) -> Run:
    """A run, executed as a worker's child does."""
    run = Run.objects.create(job="probe", options=options, trigger=Trigger.SCHEDULE)
    connection.close()
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    return ended.run


def called(**options: Any) -> Run:
    """A run from the command line."""
    call_command("probe", stdout=io.StringIO(), stderr=io.StringIO(), **options)
    return Run.objects.latest("queued_at")


def let_it(monkeypatch: pytest.MonkeyPatch, handle: Callable[[], object]) -> None:
    """Let the probe do this."""
    monkeypatch.setattr(Command, "handle", lambda command, *args, **options: str(handle()))


def output_of(run: Run) -> str:
    return "".join(RunOutput.objects.filter(run=run).in_order().values_list("text", flat=True)).strip()


@pytest.mark.parametrize("start", [executed, called])
def test_a_server_that_closes_idle_connections_while_a_job_computes_does_no_harm(
    start: Callable[[], Run], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compute_then_query() -> int:
        postgres.close_all()
        return Run.objects.count()

    let_it(monkeypatch, compute_then_query)
    with kept_open():
        run = start()
    assert (run.status, run.error, output_of(run)) == ("succeeded", "", "1")


def test_a_run_ends_properly_although_the_server_has_ended_the_transaction_of_its_caller(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_it(monkeypatch, postgres.close_all)
    with suppress(DatabaseError), transaction.atomic():
        Run.objects.count()
        call_command("probe", stdout=io.StringIO())
    connection.close()
    assert Run.objects.get().status == "succeeded"


SLOW_COMMIT = """
CREATE TEMPORARY TABLE slow (x integer);
CREATE FUNCTION pg_temp.wait() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION pg_temp.wait();
"""


def test_a_job_that_exceeds_its_time_limit_as_it_commits_does_not_fail_because_of_djangos_error(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django cannot use the connection any more, and raises an error."""

    def commit() -> None:
        with connection.cursor() as cursor:
            cursor.execute(SLOW_COMMIT)
            with transaction.atomic():
                cursor.execute("INSERT INTO slow VALUES (1)")

    monkeypatch.setattr(Command, "time_limit", timedelta(seconds=1))
    let_it(monkeypatch, commit)
    run = executed()
    assert (run.status, run.error) == ("timed_out", "")


@pytest.mark.parametrize("start", [executed, called])
def test_the_service_opens_no_connection_for_a_job_without_queries(
    start: Callable[[], Run], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_it(monkeypatch, lambda: connection.connection is None)
    with side_by_side(tmp_path):
        connection.close()
        assert output_of(start()) == "True"


@pytest.mark.parametrize("leaves_a_thread", [False, True])
def test_a_worker_keeps_sqlites_file_open_between_two_jobs_unless_one_has_left_a_thread(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, leaves_a_thread: bool
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL's connections are kept open while jobs run, too")
    path, may_end = str(tmp_path / "side_by_side.sqlite3"), threading.Event()

    def handle() -> bool:
        if leaves_a_thread:
            threading.Thread(target=may_end.wait, args=[60], daemon=True).start()
        return path in open_files()

    let_it(monkeypatch, handle)
    try:
        with side_by_side(tmp_path), kept_open():
            runs = [executed() for _ in range(2)]
            assert (path in open_files()) is not leaves_a_thread
            assert [output_of(run) for run in runs] == ["False", "False"]
    finally:
        may_end.set()


def test_what_a_job_leaves_on_its_connection_does_not_reach_the_next_run(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave_everything() -> None:
        transaction.set_autocommit(False)
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = nowhere")
            cursor.execute("CREATE TEMPORARY TABLE jobledger_run (left_behind text)")
            cursor.execute("LISTEN left_behind")
            cursor.execute("SELECT pg_advisory_lock(7)")

    let_it(monkeypatch, leave_everything)
    assert executed().status == "succeeded"
    wait_until(lambda: postgres.sessions() <= 1, what="the job's connection is closed")
    let_it(monkeypatch, state_of_connection)
    assert output_of(executed()) == str(('"$user", public', "public", 0, True))


def state_of_connection() -> tuple[Any, ...]:
    """The search path, the schema of the runs, the number of channels listened to, and if a lock is free."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('search_path'), relnamespace::regnamespace::text FROM pg_class "
            "WHERE oid = 'jobledger_run'::regclass"
        )
        found = cursor.fetchone()
        cursor.execute("SELECT (SELECT count(*) FROM pg_listening_channels()), pg_try_advisory_lock(7)")
        return (*found, *cursor.fetchone())


def test_a_transaction_that_a_job_leaves_open_does_not_block_the_end_of_its_run(
    postgres: Server, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.JOBLEDGER = {**settings.JOBLEDGER, "HEARTBEAT_SECONDS": 0.05}

    def lock_the_run() -> None:
        transaction.set_autocommit(False)
        Run.objects.update(username="never committed")
        wait_until(lambda: postgres.waiting() == 1, what="the heartbeat waits for the lock")

    let_it(monkeypatch, lock_the_run)
    run = executed()
    assert (run.status, run.username) == ("succeeded", "")


def test_a_job_that_has_lost_its_own_connection_is_recorded(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_it() -> None:
        Run.objects.count()
        postgres.close_all()
        Run.objects.count()

    let_it(monkeypatch, lose_it)
    run = executed()
    assert (run.status, run.reason_details["type"]) == ("failed", "OperationalError")


def test_a_run_is_on_record_even_if_the_transaction_around_it_is_rolled_back(postgres: Server) -> None:
    with transaction.atomic():
        Run.objects.create(job="rolled back", trigger=Trigger.CLI)
        call_command("probe", "word", stdout=io.StringIO())
        transaction.set_rollback(True)
    run = Run.objects.get()
    assert (run.job, run.status, output_of(run)) == ("probe", "succeeded", "word")


def test_a_run_in_a_transaction_is_seen_while_it_runs(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    let_it(monkeypatch, lambda: seen.extend(postgres.execute("SELECT status FROM jobledger_run")))
    with transaction.atomic():
        call_command("probe", stdout=io.StringIO())
    assert seen == [("running",)]
