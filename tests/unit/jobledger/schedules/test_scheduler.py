"""A tick records, publishes and says when the next is needed; nothing that is away ends beat."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from celery import current_app
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.jobs.declaration import Misfire
from jobledger.models import NextSlot, Run, SchedulePolicy, Trigger
from jobledger.runs.publishing import publisher
from jobledger.schedules import ledger
from jobledger.schedules.scheduler import RETRY_SECONDS, Scheduler
from tests.unit.jobledger.schedules.builders import NOON, hourly
from tests.unit.sqlite_files import garbage_left, in_a_file, locked, open_files

# Beat runs outside any transaction: it drops connections that it finds in one.
pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """The moment of the ticks."""
    with time_machine.travel(NOON + timedelta(seconds=1), tick=False):
        yield


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that were given to the broker."""
    given: list[Run] = []

    monkeypatch.setattr(publisher, "publish", given.extend)
    return given


@pytest.fixture
def scheduler() -> Scheduler:
    """As beat makes it."""
    return Scheduler(app=current_app)


def test_a_tick_records_and_publishes_what_is_due(scheduler: Scheduler, published: list[Run]) -> None:
    hourly(handled_until=NOON - MINUTE)
    scheduler.tick()
    assert published == [Run.objects.get()]


def test_django_celery_beats_own_figures_are_kept(scheduler: Scheduler, published: list[Run]) -> None:
    once = hourly("once", handled_until=NOON - 2 * HOUR)
    each = hourly("each", handled_until=NOON - 3 * HOUR)
    SchedulePolicy.objects.filter(schedule=each).update(misfire=Misfire.ALL)
    hourly("later")
    scheduler.tick()
    figures = {found.name: (found.last_run_at, found.total_run_count) for found in PeriodicTask.objects.all()}
    ticked_at = NOON + timedelta(seconds=1)
    assert figures == {once.name: (ticked_at, 1), each.name: (ticked_at, 3), "later": (None, 0)}


def test_they_are_kept_with_one_statement(
    scheduler: Scheduler, published: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        hourly(f"schedule {number}", handled_until=NOON - MINUTE)
    with CaptureQueriesContext(connection) as queries:
        scheduler.tick()
    assert sum('total_run_count" + 1' in query["sql"] for query in queries) == 1


def test_the_next_tick_is_when_the_next_schedule_is_due(scheduler: Scheduler, published: list[Run]) -> None:
    hourly()
    NextSlot.objects.update(due_at=NOON + timedelta(seconds=1.25))
    assert scheduler.tick() == pytest.approx(0.25)


def test_beat_sleeps_a_second_at_most(scheduler: Scheduler, published: list[Run]) -> None:
    assert scheduler.tick() == 1.0


def test_what_somebody_else_holds_is_not_looked_at_without_a_pause(
    scheduler: Scheduler, published: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly(handled_until=NOON - MINUTE)
    # As where another beat has the row locked, which is then passed over.
    monkeypatch.setattr(ledger, "record_due", lambda now: ledger.RecordedBatch(queued=[], has_more=False))
    assert scheduler.tick() == RETRY_SECONDS


def test_runs_that_a_broker_did_not_take_are_not_looked_at_without_a_pause(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(runs: list[Run]) -> None:
        raise publisher.BrokerDownError("refused")

    monkeypatch.setattr(publisher, "publish", refuse)
    Run.objects.create(job="probe", trigger=Trigger.CLI, publish_after=NOON)
    assert scheduler.tick() == RETRY_SECONDS


def test_a_full_batch_is_followed_by_another_at_once(
    scheduler: Scheduler, published: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BATCH", 2)
    for number in range(3):
        hourly(f"schedule {number}", handled_until=NOON - MINUTE)
    assert scheduler.tick() == 0.0
    assert len(published) == 2


def test_a_broker_that_is_away_is_logged_once_and_slots_go_on_being_recorded(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(runs: list[Run]) -> None:
        raise publisher.BrokerDownError("ConnectionError: refused")

    monkeypatch.setattr(publisher, "publish", refuse)
    for number in range(2):
        hourly(f"schedule {number}", handled_until=NOON - MINUTE)
        scheduler._publish_at = 0.0
        scheduler.tick()
    assert Run.objects.filter(status="queued").count() == 2
    assert caplog.text.count("Waiting for the broker: ConnectionError: refused") == 1


def test_a_broker_that_refused_is_left_alone_for_a_while(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    def refuse(runs: list[Run]) -> None:
        attempts.append(runs)
        raise publisher.BrokerDownError("refused")

    monkeypatch.setattr(publisher, "publish", refuse)
    for _ in range(3):
        scheduler.tick()
    assert len(attempts) == 1


def test_a_database_that_is_away_is_logged_once_and_waited_for(
    scheduler: Scheduler,
    published: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse(now: Any) -> None:
        raise OperationalError("the connection is closed")

    with monkeypatch.context() as away:
        away.setattr(ledger, "record_due", refuse)
        assert [scheduler.tick(), scheduler.tick()] == [1.0, 1.0]
    caplog.set_level("INFO")
    scheduler.tick()
    assert caplog.text.count("Waiting for the database: the connection is closed") == 1
    assert caplog.text.count("The database is back") == 1


def test_a_round_whose_values_the_database_refuses_is_no_outage_and_beat_goes_on(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(now: Any) -> None:
        raise DataError("value too long")

    monkeypatch.setattr(ledger, "record_due", refuse)
    assert [scheduler.tick(), scheduler.tick()] == [1.0, 1.0]
    assert caplog.text.count("The database rejected a value that beat wrote: value too long") == 1
    assert "Waiting for" not in caplog.text


def test_a_tick_that_the_database_refused_leaves_no_connection_open(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    path = str(tmp_path / "db.sqlite3")
    with in_a_file(path), garbage_left():
        with locked(path):
            scheduler.tick()
        assert path not in open_files()


def test_a_tick_shows_that_beat_lives_and_one_without_database_does_not(
    scheduler: Scheduler,
    published: list[Run],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.HEALTH_DIR = str(tmp_path)

    def refuse(now: Any) -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as away:
        away.setattr(ledger, "record_due", refuse)
        scheduler.tick()
    assert not (tmp_path / "beat").exists()
    scheduler.tick()
    assert (tmp_path / "beat").exists()


def test_edits_without_a_signal_are_noticed(scheduler: Scheduler, published: list[Run]) -> None:
    hourly()
    NextSlot.objects.all().delete()
    scheduler.tick()
    assert NextSlot.objects.count() == 1
