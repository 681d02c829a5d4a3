"""A tick records, publishes, and returns when the next one is needed; no outage ends beat."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from celery import current_app
from django.db import DataError, OperationalError, ProgrammingError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.alerts.sending import background
from jobledger.jobs.declaration import Misfire
from jobledger.models import NextSlot, Ping, Run, SchedulePolicy, Trigger
from jobledger.runs import lasting_connections
from jobledger.runs.publishing import publisher
from jobledger.runs.publishing.in_line import Line
from jobledger.schedules import reconciliation
from jobledger.schedules.backfills import backfilling
from jobledger.schedules.backfills.backfilling import Terms
from jobledger.schedules.due import agenda, due_alone, ledger
from jobledger.schedules.due.agenda import Agenda
from jobledger.schedules.scheduler import AHEAD, RETRY_SECONDS, Scheduler
from tests.unit.builders import override
from tests.unit.jobledger.schedules.builders import NOON, hourly, wound_back
from tests.unit.sqlite_files import garbage_left, in_a_file, locked, open_files

# Beat runs outside any transaction: it drops connections that it finds in one.
pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
MINUTE, SECOND = timedelta(minutes=1), timedelta(seconds=1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """The time of the ticks."""
    with time_machine.travel(NOON + timedelta(seconds=1), tick=False):
        yield


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """The runs that were published."""
    given: list[Run] = []

    def send(runs: Sequence[Run]) -> list[Run]:
        given.extend(runs)
        return list(runs)

    monkeypatch.setattr(publisher, "send", send)
    return given


@pytest.fixture
def scheduler() -> Scheduler:
    """As created by beat."""
    return Scheduler(app=current_app)


def test_a_tick_records_and_publishes_what_is_due(scheduler: Scheduler, published: list[Run]) -> None:
    hourly(handled_until=NOON - MINUTE)
    scheduler.tick()
    assert published == [Run.objects.get()]


def test_django_celery_beats_own_fields_are_maintained(scheduler: Scheduler, published: list[Run]) -> None:
    once = hourly("once", handled_until=NOON - 2 * HOUR)
    each = hourly("each", handled_until=NOON - 3 * HOUR)
    SchedulePolicy.objects.filter(schedule=each).update(misfire=Misfire.ALL)
    hourly("later")
    scheduler.tick()
    figures = {found.name: (found.last_run_at, found.total_run_count) for found in PeriodicTask.objects.all()}
    ticked_at = NOON + timedelta(seconds=1)
    assert figures == {once.name: (ticked_at, 1), each.name: (ticked_at, 3), "later": (None, 0)}


def test_they_are_maintained_with_one_statement(
    scheduler: Scheduler, published: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        hourly(f"schedule {number}", handled_until=NOON - MINUTE)
    with CaptureQueriesContext(connection) as queries:
        scheduler.tick()
    assert sum('total_run_count" + 1' in query["sql"] for query in queries) == 1


def test_the_next_tick_is_shortly_before_the_next_schedule_is_due_and_the_one_after_it_when_it_is(
    scheduler: Scheduler, published: list[Run]
) -> None:
    hourly()
    NextSlot.objects.update(due_at=NOON + timedelta(seconds=1.25))
    assert scheduler.tick() == pytest.approx(0.25 - AHEAD.total_seconds())
    with time_machine.travel(NOON + timedelta(seconds=1.25) - AHEAD, tick=False):
        assert scheduler.tick() == pytest.approx(AHEAD.total_seconds())
    assert published == []


@pytest.fixture
def asleep(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A beat whose schedule is due at noon has ticked a second before. To be called with its sleep."""
    with time_machine.travel(NOON - timedelta(seconds=1), tick=False) as wall:
        monkeypatch.setattr(agenda, "monotonic", lambda: 0.0)
        hourly()
        scheduler.tick()

        def sleep(*, by_wall: float, by_monotonic: float) -> None:
            wall.shift(by_wall)
            monkeypatch.setattr(agenda, "monotonic", lambda: by_monotonic)

        yield sleep


def seconds_since_noon() -> float:
    return (timezone.now() - NOON).total_seconds()


def statements_of_a_tick(scheduler: Scheduler) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        scheduler.tick()
    return [query["sql"] for query in queries]


def test_a_schedule_that_beat_has_waited_for_is_recorded_at_once(
    scheduler: Scheduler, asleep: Callable[..., None], published: list[Run]
) -> None:
    asleep(by_wall=1.0, by_monotonic=1.001)
    first, *_ = statements_of_a_tick(scheduler)
    assert [run.scheduled_for for run in published] == [NOON]
    assert "heartbeat_at" not in first, first


def test_it_is_read_shortly_before_so_that_reading_it_again_takes_less_time(
    scheduler: Scheduler, asleep: Callable[..., None], published: list[Run]
) -> None:
    asleep(by_wall=0.99, by_monotonic=0.99)
    ahead, *others = statements_of_a_tick(scheduler)
    assert "timing_now" in ahead
    assert not any("timing_now" in each or "heartbeat_at" in each for each in others)
    assert (published, Run.objects.count()) == ([], 0)
    asleep(by_wall=0.01, by_monotonic=1.0)
    first, *_ = statements_of_a_tick(scheduler)
    assert "timing_now" in first
    assert [run.scheduled_for for run in published] == [NOON]


def test_an_edit_after_that_is_heeded(
    scheduler: Scheduler, asleep: Callable[..., None], published: list[Run]
) -> None:
    asleep(by_wall=0.99, by_monotonic=0.99)
    scheduler.tick()
    # Without a signal.
    PeriodicTask.objects.update(enabled=False)
    asleep(by_wall=0.01, by_monotonic=1.0)
    scheduler.tick()
    assert published == []


@pytest.mark.parametrize("by_wall", [0.9, 3600.0])
def test_the_agenda_is_read_again_if_the_clock_was_set_or_the_machine_suspended(
    scheduler: Scheduler, asleep: Callable[..., None], published: list[Run], by_wall: float
) -> None:
    asleep(by_wall=by_wall, by_monotonic=1.0)
    first, *_ = statements_of_a_tick(scheduler)
    assert "heartbeat_at" in first, first


def test_so_is_the_next_one_and_whatever_else_has_become_due_by_then(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, published: list[Run]
) -> None:
    with time_machine.travel(NOON - timedelta(seconds=1), tick=False) as wall:
        monkeypatch.setattr(agenda, "monotonic", seconds_since_noon)
        first, *others = (hourly(f"schedule {number}") for number in range(4))
        NextSlot.objects.exclude(pk=first.pk).update(due_at=NOON + SECOND)
        scheduler.tick()
        wall.shift(1)
        assert scheduler.tick() == pytest.approx(1.0 - AHEAD.total_seconds())
        assert [run.schedule for run in published] == [first]
        wall.shift(1)
        statement, *_ = statements_of_a_tick(scheduler)
        assert "heartbeat_at" not in statement
        assert len(published) == 2
        scheduler.tick()
    assert {run.schedule for run in published} == {first, *others}


def test_only_what_is_due_is_looked_for(scheduler: Scheduler, published: list[Run]) -> None:
    hourly()
    scheduler.tick()
    run = Run.objects.create(job="probe", trigger=Trigger.CLI, publish_after=NOON)
    _, *statements, _ = statements_of_a_tick(scheduler)
    assert published == [run]
    assert not any("start_before" in statement.partition("WHERE")[2] for statement in statements)


def test_a_run_that_expires_as_it_is_recorded_is_not_published(
    scheduler: Scheduler, published: list[Run]
) -> None:
    hourly(handled_until=NOON - MINUTE, expire_seconds=0)
    for _ in range(2):
        scheduler.tick()
    assert published == []
    assert Run.objects.get().status == "expired"


def test_a_tick_with_nothing_to_do_is_one_statement(scheduler: Scheduler) -> None:
    hourly()
    Run.objects.create(job="probe", trigger=Trigger.CLI, status="running", heartbeat_at=NOON)
    scheduler.tick()  # reports that beat is present, and begins a pass of reconciliation
    with CaptureQueriesContext(connection) as queries:
        scheduler.tick()
    assert len(queries) == 1, [query["sql"] for query in queries]


def test_beat_does_not_sleep_before_it_has_looked_at_all_schedules_once(
    scheduler: Scheduler, published: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "SLICE_SIZE", 2)
    for number in range(5):
        hourly(f"{number}")
    NextSlot.objects.all().delete()
    assert [scheduler.tick(), scheduler.tick()] == [0, 0]
    assert scheduler.tick() > 0
    assert NextSlot.objects.count() == 5


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The SQLite file in which all is, where beat can tell whether others have written."""
    if connection.vendor != "sqlite":
        pytest.skip("only with SQLite")
    path = str(tmp_path / "db.sqlite3")
    monkeypatch.setattr(agenda, "monotonic", seconds_since_noon)
    hourly()
    with closing(sqlite3.connect(path)) as copy:
        connection.connection.backup(copy)
    with in_a_file(path, init_command="PRAGMA journal_mode=WAL"):
        yield path
        connection.close()


def test_the_agenda_in_a_file_is_not_read_again_while_nobody_else_writes(
    scheduler: Scheduler, file: str
) -> None:
    lasting_connections.keep()
    for _ in range(2):
        scheduler.tick()
    assert statements_of_a_tick(scheduler) == ["PRAGMA data_version"]


def test_what_others_write_to_the_file_is_on_the_agenda_of_the_next_tick(
    scheduler: Scheduler, published: list[Run], file: str
) -> None:
    for _ in range(2):
        scheduler.tick()
    earlier = ", ".join(
        f"{name} = datetime({name}, '-1 hour')" for name in ("slot", "due_at", "handled_until")
    )
    with closing(sqlite3.connect(file)) as other, other:
        other.execute(f"UPDATE jobledger_nextslot SET {earlier}")
    scheduler.tick()
    assert [run.scheduled_for for run in published] == [NOON]


def test_what_beat_itself_has_written_to_the_file_is_on_its_agenda(
    scheduler: Scheduler, published: list[Run], file: str
) -> None:
    scheduler.tick()
    for hours in (1, 2):
        with time_machine.travel(NOON + hours * HOUR, tick=False) as wall:
            for _ in range(3):
                scheduler.tick()
                wall.shift(1)
        assert [run.scheduled_for for run in published] == [NOON + each * HOUR for each in (1, 2)[:hours]]


def test_beat_sleeps_for_at_most_a_second(scheduler: Scheduler, published: list[Run]) -> None:
    assert scheduler.tick() == 1.0


def test_locked_schedules_are_not_retried_in_a_busy_loop(
    scheduler: Scheduler, published: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    hourly(handled_until=NOON - MINUTE)
    # As if another beat had locked the row, which is then skipped.
    for module, name in (due_alone, "record"), (ledger, "record_due"):
        monkeypatch.setattr(module, name, lambda now: ledger.RecordedBatch())
    assert scheduler.tick() == RETRY_SECONDS


def test_unpublished_runs_are_not_retried_in_a_busy_loop(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(now: datetime, line: Line) -> int:
        raise publisher.BrokerDownError("refused")

    monkeypatch.setattr(publisher, "publish_due", refuse)
    Run.objects.create(job="probe", trigger=Trigger.CLI, publish_after=NOON)
    assert scheduler.tick() == RETRY_SECONDS


def test_what_is_known_of_a_queue_is_kept_from_batch_to_batch(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = list[Line]()

    def publish_none(now: datetime, line: Line) -> int:
        lines.append(line)
        return 0

    monkeypatch.setattr(publisher, "publish_due", publish_none)
    Run.objects.create(job="probe", trigger=Trigger.CLI, publish_after=NOON)
    for _ in range(2):
        scheduler.tick()
    first, second = lines
    assert first is second


def test_a_full_batch_is_followed_by_another_immediately(
    scheduler: Scheduler, published: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "BATCH", 2)
    for number in range(3):
        hourly(f"schedule {number}", handled_until=NOON - MINUTE)
    assert scheduler.tick() == 0.0
    assert len(published) == 2


def test_a_broker_outage_is_logged_once_and_slots_are_still_recorded(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(runs: list[Run]) -> None:
        raise publisher.BrokerDownError("ConnectionError: refused")

    monkeypatch.setattr(publisher, "send", refuse)
    for number in range(2):
        hourly(f"schedule {number}", handled_until=NOON - MINUTE)
        scheduler._publish_at = 0.0
        scheduler.tick()
    assert Run.objects.filter(status="queued").count() == 2
    assert caplog.text.count("Waiting for the broker: ConnectionError: refused") == 1


def test_a_broker_that_failed_is_not_retried_immediately(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []

    def refuse(runs: list[Run]) -> None:
        attempts.append(runs)
        raise publisher.BrokerDownError("refused")

    monkeypatch.setattr(publisher, "send", refuse)
    Run.objects.create(job="probe", trigger=Trigger.CLI, publish_after=NOON)
    for _ in range(3):
        scheduler.tick()
    assert len(attempts) == 1


def test_a_database_outage_is_logged_once_and_waited_for(
    scheduler: Scheduler,
    published: list[Run],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse() -> None:
        raise OperationalError("the connection is closed")

    with monkeypatch.context() as away:
        away.setattr(agenda, "read", refuse)
        assert [scheduler.tick(), scheduler.tick()] == [1.0, 1.0]
    caplog.set_level("INFO")
    scheduler.tick()
    assert caplog.text.count("Waiting for the database: the connection is closed") == 1
    assert caplog.text.count("The database is back") == 1


def test_values_rejected_by_the_database_are_not_an_outage_and_beat_continues(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(now: Any) -> None:
        raise DataError("value too long")

    hourly(handled_until=NOON - MINUTE)
    monkeypatch.setattr(due_alone, "record", refuse)
    assert [scheduler.tick(), scheduler.tick()] == [1.0, 1.0]
    assert caplog.text.count("The database rejected a value written by beat: value too long") == 1
    assert "Waiting for" not in caplog.text


@pytest.mark.parametrize("error", [None, ProgrammingError("can't change 'autocommit' now")])
def test_a_beat_that_was_told_to_end_does_so_even_if_an_error_has_replaced_its_exit(
    scheduler: Scheduler,
    error: Exception | None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def read_meanwhile() -> Agenda:
        scheduler.close()  # as the signal's handler does
        if error:
            raise error
        return read()

    read = agenda.read
    monkeypatch.setattr(agenda, "read", read_meanwhile)
    with pytest.raises(SystemExit) as end:
        scheduler.tick()
    assert (end.value.code, caplog.text) == (None, "")


def test_a_tick_that_the_database_rejected_leaves_no_connection_open(
    scheduler: Scheduler, tmp_path: Path
) -> None:
    path = str(tmp_path / "db.sqlite3")
    with in_a_file(path), garbage_left():
        with locked(path):
            scheduler.tick()
        assert path not in open_files()


def test_only_a_tick_with_a_database_shows_that_beat_is_alive(
    scheduler: Scheduler,
    published: list[Run],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    override(settings, HEALTH_DIR=str(tmp_path))

    def refuse() -> None:
        raise OperationalError("gone")

    with monkeypatch.context() as away:
        away.setattr(agenda, "read", refuse)
        scheduler.tick()
    assert not (tmp_path / "beat").exists()
    scheduler.tick()
    assert (tmp_path / "beat").exists()


def test_a_tick_starts_the_next_run_of_a_backfill_beside_what_is_due(
    scheduler: Scheduler, published: list[Run]
) -> None:
    schedule = hourly(handled_until=NOON)
    terms = Terms(since=NOON - 3 * HOUR, until=NOON, trigger=Trigger.CLI, username="ann")
    backfilling.start(schedule, terms, now=NOON)
    hourly("due", handled_until=NOON - MINUTE, task="probes.allowing")
    scheduler.tick()
    assert [(run.trigger, run.scheduled_for) for run in published] == [
        ("schedule", NOON),
        ("backfill", NOON - 3 * HOUR),
    ]
    # It is marked as published like any other.
    assert Run.objects.get(trigger=Trigger.BACKFILL).publish_count == 1
    scheduler.tick()
    assert len(published) == 2


def test_beat_says_when_an_alert_or_a_ping_is_due(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(background, "hurry", lambda: said.append("hurry"))
    scheduler.tick()
    assert said == []
    schedule, run = hourly(), Run.objects.create(job="probe", trigger=Trigger.CLI)
    Ping.objects.create(run=run, schedule=schedule, event="start", due_at=NOON)
    scheduler.tick()
    assert said == ["hurry"]


def test_beat_says_when_the_end_of_a_task_is_to_be_looked_for(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(background, "look_for_results", lambda: said.append("look"))
    run = Run.objects.create(job="billing.charge", trigger="schedule", status="sent", look_at=NOON + HOUR)
    scheduler.tick()
    assert said == []
    Run.objects.filter(pk=run.pk).update(look_at=NOON)
    scheduler.tick()
    assert said == ["look"]


def test_a_run_that_no_worker_has_claimed_by_the_next_look_is_marked_as_published(
    scheduler: Scheduler, published: list[Run]
) -> None:
    claimed, waiting = (hourly(name, minute=minute) for name, minute in (("claimed", "0"), ("waiting", "1")))
    for minutes, schedule in enumerate((claimed, waiting)):
        with time_machine.travel(NOON + minutes * MINUTE, tick=False):
            wound_back(schedule, NOON + minutes * MINUTE - SECOND)
            scheduler.tick()
            if schedule is claimed:
                Run.objects.filter(schedule=claimed).update(status="running", publish_after=None)
            scheduler.tick()
    assert [run.schedule for run in published] == [claimed, waiting]
    assert list(Run.objects.order_by("scheduled_for").values_list("publish_count", flat=True)) == [0, 1]


def test_edits_without_a_signal_are_noticed(scheduler: Scheduler, published: list[Run]) -> None:
    hourly()
    NextSlot.objects.all().delete()
    scheduler.tick()
    assert NextSlot.objects.count() == 1


def test_beat_says_that_the_clock_was_set_back(
    scheduler: Scheduler, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler.tick()
    with time_machine.travel(NOON - HOUR, tick=False):
        scheduler.tick()
        scheduler.tick()
    (warning,) = [record for record in caplog.records if "set back" in record.getMessage()]
    until = "What was due until 2026-03-02 12:00:01 UTC has been handled"
    assert warning.getMessage() == f"The database's clock was set back by 1 h. {until}"
