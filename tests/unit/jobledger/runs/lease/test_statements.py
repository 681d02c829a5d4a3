"""What a PostgreSQL server is executing for a job that is ended is cancelled, and nothing else."""

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import connection

from jobledger.models import Reason, Why
from jobledger.runs.lease import statements
from jobledger.runs.lease.interrupts import STUCK_SECONDS, Interrupter, JobCancelled, interruptible
from jobledger.runs.ledger_connection import ledger_connection
from tests.unit.postgres import Server, server_or_skip
from tests.waiting import wait_until

LONG = "SELECT pg_sleep(600)"


@pytest.fixture
def postgres() -> Iterator[Server]:
    with server_or_skip("SQLite executes statements in the job's process, and ends with it") as found:
        connection.close()
        yield found
        found.close_all()


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def cancelled() -> JobCancelled:
    return JobCancelled(Why.of(Reason.USER, user="ann"), run_id=uuid.uuid4())


def interrupt_during(statement: str, interrupter: Interrupter, postgres: Server) -> threading.Thread:
    def work() -> None:
        wait_until(lambda: postgres.is_executing(statement), what="the server executes it")
        interrupter.interrupt(cancelled())

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.django_db(transaction=True)
def test_the_statement_ends_that_the_job_waits_for(postgres: Server) -> None:
    with pytest.raises(JobCancelled), interruptible() as interrupter:  # noqa: PT012 - the statement ends
        thread = interrupt_during(LONG, interrupter, postgres)
        execute(LONG)
    thread.join()
    wait_until(lambda: not postgres.is_executing(LONG), what="the server has stopped")
    connection.close()


@pytest.mark.django_db(transaction=True)
def test_one_of_the_service_goes_on(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def noted(databases: Sequence[Any]) -> Sequence[Any]:
        requests.append(requests_for(databases))
        return requests[-1]

    requests_for, requests = statements.requests_for, list[Sequence[Any]]()
    monkeypatch.setattr(statements, "requests_for", noted)
    with pytest.raises(JobCancelled), interruptible() as interrupter, ledger_connection():  # noqa: PT012
        thread = interrupt_during(LONG, interrupter, postgres)
        execute(LONG)
    thread.join()
    assert requests == [[]]
    assert postgres.is_executing(LONG)


CLEANUP = f"SELECT pg_sleep({2 * STUCK_SECONDS})"


@pytest.mark.django_db(transaction=True)
def test_nor_does_one_of_the_cleanup_after_a_copy_which_leaves_the_connection_usable(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(statements, "cancel", sent.append)
    cleaned_up = []
    with pytest.raises(JobCancelled), interruptible() as interrupter, connection.cursor() as cursor:  # noqa: PT012
        try:
            with cursor.copy("COPY (SELECT generate_series(1, 1000000)) TO STDOUT") as copy:
                interrupter.interrupt(cancelled())
                for _ in copy:
                    pass
        finally:
            execute("SELECT 1")
            cleaned_up.append(True)
    connection.close()
    assert (cleaned_up, sent) == ([True], [])


class JobInThread:
    """Does something until it is interrupted, and then executes a statement to clean up."""

    def __init__(self, statement: str) -> None:
        self.statement = statement
        self.interrupters: list[Interrupter] = []
        self.ended: list[str] = []
        self.thread = threading.Thread(target=self.work)
        self.thread.start()
        wait_until(lambda: self.interrupters, what="the job has begun")

    def work(self) -> None:
        try:
            with interruptible() as interrupter:
                execute("SELECT 1")
                self.interrupters.append(interrupter)
                try:
                    while not self.statement:
                        time.sleep(0.001)
                    execute(self.statement)
                finally:
                    execute(CLEANUP)
                    self.ended.append("cleaned up")
        except JobCancelled as error:
            self.ended.append(str(error))
        finally:
            connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("statement", ["", LONG])
def test_in_another_thread_it_ends_too_and_the_statements_of_the_cleanup_do_not(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    def late(databases: Sequence[Any]) -> Sequence[Any]:
        wait_until(lambda: bool(statement) or postgres.is_executing(CLEANUP), what="the job cleans up")
        return requests_for(databases)

    requests_for = statements.requests_for
    monkeypatch.setattr(statements, "requests_for", late)
    job = JobInThread(statement)
    wait_until(lambda: not statement or postgres.is_executing(statement), what="it waits for the statement")
    job.interrupters[0].interrupt(cancelled())
    job.thread.join()
    assert job.ended == ["cleaned up", "Cancelled by ann."]


def requests_for(driver: Any) -> list[Any]:
    return list(statements.requests_for([Mock(connection=driver)]))


@pytest.mark.parametrize(
    "driver",
    [
        None,
        SimpleNamespace(),
        SimpleNamespace(pgconn=Mock(transaction_status=0)),
        SimpleNamespace(pgconn=Mock(transaction_status=1, pipeline_status=1)),
        SimpleNamespace(
            pgconn=Mock(
                transaction_status=1, pipeline_status=0, cancel_conn=Mock(side_effect=NotImplementedError)
            )
        ),
    ],
    ids=["no connection", "another driver", "nothing to cancel", "a pipeline", "libpq is too old"],
)
def test_where_there_is_nothing_to_cancel_or_no_way_to_do_so_nothing_happens(driver: Any) -> None:
    assert requests_for(driver) == []


@pytest.mark.parametrize("fails", [Mock(side_effect=OSError("no server")), Mock(return_value=0)])
def test_a_server_that_cannot_be_asked_is_reported_and_the_next_one_asked_all_the_same(
    fails: Mock, caplog: pytest.LogCaptureFixture
) -> None:
    next_one = Mock(poll=Mock(return_value=3))
    statements.cancel([Mock(poll=fails), next_one])
    assert next_one.start.call_count == 1
    assert caplog.text.count("PostgreSQL goes on with a statement of a job that has ended: ") == 1


def test_a_database_that_this_process_cannot_use_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connections(dict[str, object]):
        def __getitem__(self, alias: str) -> object:
            if alias == "other":
                raise ImportError("no driver")
            return alias

    monkeypatch.setattr(statements, "connections", Connections(default=None, other=None))
    assert list[object](statements.all_of_this_thread()) == ["default"]
