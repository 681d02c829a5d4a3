"""A process reports every ten seconds, and its row is deleted when it ends or has been absent for long."""

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
import time_machine
from celery.worker import state
from kombu import Queue

from jobledger.models import ProcessKind, ServiceProcess
from jobledger.runs.service import presence
from jobledger.runs.service.code_version import code_version
from jobledger.runs.service.presence import Presence
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def seen() -> list[datetime]:
    return list(ServiceProcess.objects.order_by("name").values_list("seen_at", flat=True))


def test_a_process_reports_immediately_and_then_every_ten_seconds() -> None:
    beat = Presence(ProcessKind.BEAT, "here:1")
    for seconds in range(0, 30, 3):
        beat.report(NOON + seconds * SECOND)
    assert seen() == [NOON + 24 * SECOND]
    assert ServiceProcess.objects.get().started_at == NOON


def test_a_worker_reports_its_version_and_current_queues() -> None:
    queues = ["reports", "celery"]
    worker = Presence(ProcessKind.WORKER, "celery@here", lambda: queues)
    worker.report(NOON)
    row = ServiceProcess.objects.get()
    assert (row.version, row.queues) == (code_version(), ["celery", "reports"])
    queues.remove("celery")
    worker.report(NOON + 11 * SECOND)
    assert ServiceProcess.objects.get().queues == ["reports"]


def test_a_worker_reports_its_current_capacity() -> None:
    pool = SimpleNamespace(num_processes=4)
    consumer = SimpleNamespace(pool=pool)
    worker = Presence(ProcessKind.WORKER, "celery@here", capacity=lambda: presence._capacity_of(consumer))
    worker.report(NOON)
    assert ServiceProcess.objects.get().capacity == 4
    pool.num_processes = 0
    worker.report(NOON + 11 * SECOND)
    assert ServiceProcess.objects.get().capacity == 0


def test_a_worker_reports_how_many_tasks_it_executes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "active_requests", {"one", "two"})
    Presence(ProcessKind.WORKER, "celery@here", busy=presence._busy).report(NOON)
    assert ServiceProcess.objects.get().busy == 2


@pytest.mark.parametrize(("age", "at"), [(None, None), (3 * SECOND, NOON - 3 * SECOND)])
def test_a_worker_reports_when_it_last_took_a_message(age: timedelta | None, at: datetime | None) -> None:
    Presence(ProcessKind.WORKER, "celery@here", message_age=lambda: age).report(NOON)
    assert ServiceProcess.objects.get().message_at == at


def test_the_age_of_the_last_message_counts_from_when_it_was_taken() -> None:
    worker = presence._Worker()
    assert worker._message_age() is None
    worker.note_message()
    age = worker._message_age()
    assert age is not None
    assert age >= 0 * SECOND


@pytest.mark.parametrize("consumer", [SimpleNamespace(pool=None), SimpleNamespace(), None])
def test_the_capacity_is_unknown_without_a_pool_of_processes(consumer: object) -> None:
    assert presence._capacity_of(consumer) is None


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_worker_reports_the_queues_of_its_consumer_or_of_the_settings_while_it_has_none(
    is_connected: bool,
) -> None:
    reader = SimpleNamespace(queues=[Queue("reports")])
    consumer = SimpleNamespace(task_consumer=reader if is_connected else None)
    assert presence._queues_of(consumer) == (["reports"] if is_connected else ["celery"])


def test_a_process_continues_to_report_after_the_clock_is_set_back() -> None:
    beat = Presence(ProcessKind.BEAT, "here:1")
    beat.report(NOON)
    beat.report(NOON - timedelta(hours=1))
    assert seen() == [NOON - timedelta(hours=1)]


def test_a_deleted_row_is_created_again() -> None:
    beat = Presence(ProcessKind.BEAT, "here:1")
    beat.report(NOON)
    ServiceProcess.objects.all().delete()
    beat.report(NOON + 11 * SECOND)
    assert seen() == [NOON + 11 * SECOND]


def test_a_process_that_has_ended_is_not_present() -> None:
    worker = Presence(ProcessKind.WORKER, "celery@here")
    worker.report(NOON)
    with time_machine.travel(NOON + SECOND, tick=False):
        worker.leave()
    assert list(presence.present(ProcessKind.WORKER, NOON + SECOND)) == []
    assert ServiceProcess.objects.get().ended_at == NOON + SECOND


@pytest.mark.parametrize("is_orderly", [True, False])
def test_a_restarted_worker_remembers_when_the_previous_one_took_its_last_message(
    monkeypatch: pytest.MonkeyPatch, is_orderly: bool
) -> None:
    before = Presence(ProcessKind.WORKER, "celery@here", message_age=lambda: SECOND)
    before.report(NOON)
    if is_orderly:
        before.leave()
    monkeypatch.setattr(presence, "IDENTITY", "the next one")
    ages = iter((None, None, SECOND))
    worker = Presence(ProcessKind.WORKER, "celery@here", message_age=lambda: next(ages))
    for seconds, expected in ((60, -1), (71, -1), (82, 81)):
        worker.report(NOON + seconds * SECOND)
        found = ServiceProcess.objects.get()
        assert (found.message_at, found.ended_at) == (NOON + expected * SECOND, None)


def test_processes_of_the_same_name_report_independently(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Presence(ProcessKind.WORKER, "celery@here")
    monkeypatch.setattr(presence, "IDENTITY", "another")
    other = Presence(ProcessKind.WORKER, "celery@here")
    one.report(NOON)
    other.report(NOON + SECOND)
    assert len(seen()) == 2
    one.leave()
    assert [each.identity for each in presence.present(ProcessKind.WORKER, NOON)] == ["another"]


def test_a_restarted_process_replaces_the_row_of_the_killed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    Presence(ProcessKind.WORKER, "celery@here").report(NOON)
    monkeypatch.setattr(presence, "IDENTITY", "the next one")
    Presence(ProcessKind.WORKER, "celery@here").report(NOON + 60 * SECOND)
    assert seen() == [NOON + 60 * SECOND]


def test_the_row_of_a_process_that_has_been_absent_for_long_is_deleted() -> None:
    Presence(ProcessKind.WORKER, "celery@old").report(NOON - timedelta(days=2))
    Presence(ProcessKind.WORKER, "celery@recent").report(NOON - timedelta(hours=2))
    Presence(ProcessKind.WORKER, "celery@here").report(NOON)
    assert set(ServiceProcess.objects.values_list("name", flat=True)) == {"celery@here", "celery@recent"}


def test_a_clock_that_differs_from_the_databases_is_recorded_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    worker = Presence(ProcessKind.WORKER, "celery@here")
    with time_machine.travel(NOON + 120 * SECOND, tick=False):
        worker.report(NOON)
        worker.report(NOON + 11 * SECOND)
    offset = ServiceProcess.objects.get().clock_offset
    with time_machine.travel(NOON + 22 * SECOND, tick=False):
        worker.report(NOON + 22 * SECOND)

    assert offset == 109 * SECOND
    assert ServiceProcess.objects.get().clock_offset == 0 * SECOND
    assert [record.getMessage() for record in caplog.records if "clock" in record.getMessage()] == [
        "The clock of this machine and the database's differ by 120 s; synchronize them",
        "The clock of this machine agrees with the database's again",
    ]
