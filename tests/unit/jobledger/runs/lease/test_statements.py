"""What a PostgreSQL server is executing for a job that is ended is cancelled."""

import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import connection

from jobledger.models import Reason, Run, Trigger, Why
from jobledger.runs.execution import runner
from jobledger.runs.lease import statements
from jobledger.runs.lease.interrupts import Interrupter, JobCancelled, interruptible
from tests.probes.management.commands.probe import Command
from tests.unit.postgres import Server, server
from tests.waiting import wait_until

LONG = "SELECT pg_sleep(600)"


@pytest.fixture
def postgres() -> Iterator[Server]:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite executes statements in the job's process, and ends with it")
    connection.close()
    with server() as found:
        yield found


def execute_long(*args: Any, **options: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(LONG)


def wait_for_its_end(postgres: Server) -> None:
    wait_until(lambda: not postgres.is_executing(LONG), what="the server has stopped")


@pytest.mark.django_db(transaction=True)
def test_it_ends_with_a_job_whose_time_is_over(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Command, "handle", execute_long)
    monkeypatch.setattr(Command, "time_limit", timedelta(seconds=1))
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE)
    connection.close()
    ended = runner.execute(run.pk, worker="w")
    assert ended is not None
    assert ended.run.status == "timed_out"
    wait_for_its_end(postgres)


@pytest.mark.django_db(transaction=True)
def test_it_ends_with_a_job_in_another_thread_which_notices_nothing_else_meanwhile(postgres: Server) -> None:
    interrupters: list[Interrupter] = []
    caught: list[BaseException] = []

    def job() -> None:
        try:
            with interruptible() as interrupter:
                interrupters.append(interrupter)
                execute_long()
        except JobCancelled as error:
            caught.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=job)
    thread.start()
    wait_until(lambda: postgres.is_executing(LONG), what="the server executes it")
    interrupters[0].interrupt(JobCancelled(Why.of(Reason.USER, user="ann"), run_id=uuid.uuid4()))
    wait_for_its_end(postgres)
    thread.join()
    assert [str(error) for error in caught] == ["Cancelled by ann."]


@pytest.mark.parametrize(
    "driver",
    [
        None,
        SimpleNamespace(),
        SimpleNamespace(pgconn=Mock(transaction_status=0)),
        SimpleNamespace(pgconn=Mock(transaction_status=1, cancel_conn=Mock(side_effect=NotImplementedError))),
    ],
    ids=["no connection", "another driver", "nothing to cancel", "libpq is too old"],
)
def test_where_there_is_nothing_to_cancel_or_no_way_to_do_so_nothing_happens(driver: Any) -> None:
    cancel_safe = Mock()
    if isinstance(driver, SimpleNamespace):
        driver.cancel_safe = cancel_safe
    statements.cancel([Mock(connection=driver)])
    assert cancel_safe.call_args_list == []
