"""A claim whose answer is lost: the run is executed once, whether the claim was committed or not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.models import Run, Status, Trigger
from jobledger.runs import overlap
from jobledger.runs.execution import claims, runner
from jobledger.runs.ledger_connection import ledger_connection
from tests.unit.builders import override

pytestmark = pytest.mark.django_db

Execute = Callable[[str, Any, bool, dict[str, Any]], Any]
ENDED, REFUSED = "server closed the connection unexpectedly", "connection refused"


@pytest.fixture(autouse=True)
def _impatient(settings: Settings) -> None:
    override(settings, HEARTBEAT_SECONDS=0.001)


def queued() -> Run:
    return Run.objects.create(job="probe", options={"words": ["hello"]}, trigger=Trigger.CELERY)


def execute(run: Run) -> runner.Ended | None:
    return runner.execute(run.pk, worker="w", job=registry.find("probe"))


@contextmanager
def losing_an_answer(*, is_committed: bool, refused: int = 0) -> Iterator[None]:
    """Of the first update, the answer is lost; then so many attempts to connect are refused."""
    lost, ensure_connection = list[str](), connection.ensure_connection

    def wrapped(run: Execute, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        if lost or not sql.startswith("UPDATE"):
            return run(sql, params, many, context)
        lost.append(sql)
        if is_committed:
            run(sql, params, many, context)
        raise OperationalError(ENDED)

    def ensure() -> None:
        if 0 < len(lost) <= refused:
            lost.append("")
            raise OperationalError(REFUSED)
        ensure_connection()

    with connection.execute_wrapper(wrapped), pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "ensure_connection", ensure)
        yield
    assert len(lost) == 1 + refused


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_run_is_executed_once_although_nobody_knows_whether_it_was_claimed(is_committed: bool) -> None:
    with losing_an_answer(is_committed=is_committed):
        ended = execute(queued())
    assert ended is not None
    assert (ended.run.status, ended.last_line) == (Status.SUCCEEDED, "hello")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_worker_looks_whether_it_has_claimed_a_run_once_the_database_is_back(is_committed: bool) -> None:
    run = queued()
    with ledger_connection(), losing_an_answer(is_committed=is_committed, refused=3):
        claimed = claims.claim(run.pk, worker="w", job=registry.find("probe"))
    assert claimed == run
    assert Run.objects.get().status == Status.RUNNING


def test_another_workers_run_is_not_taken_for_ones_own() -> None:
    run = queued()
    assert claims.claim(run.pk, worker="other", job=registry.find("probe")) is not None
    with losing_an_answer(is_committed=True):
        assert execute(run) is None
    assert Run.objects.get().worker == "other"


def test_a_run_that_another_thread_of_the_process_has_in_hand_is_left_to_it() -> None:
    run = queued()
    with claims.in_hand(run.pk):
        assert claims.claim(run.pk, worker="w", job=registry.find("probe")) is not None
        with losing_an_answer(is_committed=False):
            assert execute(run) is None
    assert Run.objects.get().status == Status.RUNNING


def test_a_run_that_has_sent_a_heartbeat_is_being_executed() -> None:
    run = queued()
    claimed = claims.claim(run.pk, worker="w", job=registry.find("probe"))
    assert claimed is not None
    Run.objects.update(heartbeat_at=Run.objects.get().started_at.replace(year=2099))  # type: ignore[union-attr]
    with losing_an_answer(is_committed=False):
        assert execute(run) is None


def test_a_database_that_cannot_be_reached_has_claimed_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = queued()

    def refuse() -> None:
        raise OperationalError(REFUSED)

    with monkeypatch.context() as patch:
        patch.setattr(connection, "ensure_connection", refuse)
        with pytest.raises(OperationalError, match=REFUSED):
            claims.claim(run.pk, worker="w", job=registry.find("probe"))
    assert Run.objects.get().status == Status.QUEUED


def test_an_error_that_answers_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(*args: Any, **kwargs: Any) -> None:
        error = OperationalError("deadlock detected")
        error.__cause__ = type("Deadlock", (Exception,), {"sqlstate": "40P01"})()
        raise error

    monkeypatch.setattr(overlap, "start_at_once", reject)
    with pytest.raises(OperationalError, match="deadlock"):
        claims.claim(queued().pk, worker="w", job=registry.find("probe"))
