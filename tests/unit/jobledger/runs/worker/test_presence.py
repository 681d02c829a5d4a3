"""A process signs every ten seconds, and its row goes when it leaves or is long gone."""

from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
import time_machine
from kombu import Queue

from jobledger.models import ProcessKind, ServiceProcess
from jobledger.runs.worker import presence
from jobledger.runs.worker.code_version import code_version
from jobledger.runs.worker.presence import Presence
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def seen() -> list[datetime]:
    return list(ServiceProcess.objects.order_by("name").values_list("seen_at", flat=True))


def test_it_signs_at_once_and_then_every_ten_seconds() -> None:
    beat = Presence(ProcessKind.BEAT, "here:1")
    for seconds in range(0, 30, 3):
        beat.sign(NOON + seconds * SECOND)
    assert seen() == [NOON + 24 * SECOND]
    assert ServiceProcess.objects.get().started_at == NOON


def test_it_leaves_the_version_of_its_code_and_the_queues_that_it_reads_now() -> None:
    queues = ["reports", "celery"]
    worker = Presence(ProcessKind.WORKER, "celery@here", lambda: queues)
    worker.sign(NOON)
    row = ServiceProcess.objects.get()
    assert (row.version, row.queues) == (code_version(), ["celery", "reports"])
    queues.remove("celery")
    worker.sign(NOON + 11 * SECOND)
    assert ServiceProcess.objects.get().queues == ["reports"]


def test_a_worker_leaves_how_many_jobs_it_can_run_at_a_time_now() -> None:
    pool = SimpleNamespace(num_processes=4)
    consumer = SimpleNamespace(pool=pool)
    worker = Presence(ProcessKind.WORKER, "celery@here", capacity=lambda: presence._capacity_of(consumer))
    worker.sign(NOON)
    assert ServiceProcess.objects.get().capacity == 4
    pool.num_processes = 0
    worker.sign(NOON + 11 * SECOND)
    assert ServiceProcess.objects.get().capacity == 0


@pytest.mark.parametrize("consumer", [SimpleNamespace(pool=None), SimpleNamespace(), None])
def test_a_worker_without_a_pool_of_processes_does_not_say(consumer: object) -> None:
    assert presence._capacity_of(consumer) is None


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_worker_tells_the_queues_of_its_consumer_or_while_it_has_none_those_of_its_settings(
    is_connected: bool,
) -> None:
    reader = SimpleNamespace(queues=[Queue("reports")])
    consumer = SimpleNamespace(task_consumer=reader if is_connected else None)
    assert presence._queues_of(consumer) == (["reports"] if is_connected else ["celery"])


def test_a_clock_that_was_set_back_does_not_silence_it() -> None:
    beat = Presence(ProcessKind.BEAT, "here:1")
    beat.sign(NOON)
    beat.sign(NOON - timedelta(hours=1))
    assert seen() == [NOON - timedelta(hours=1)]


def test_a_row_that_somebody_removed_comes_back() -> None:
    beat = Presence(ProcessKind.BEAT, "here:1")
    beat.sign(NOON)
    ServiceProcess.objects.all().delete()
    beat.sign(NOON + 11 * SECOND)
    assert seen() == [NOON + 11 * SECOND]


def test_who_leaves_is_not_missed() -> None:
    worker = Presence(ProcessKind.WORKER, "celery@here")
    worker.sign(NOON)
    worker.leave()
    assert seen() == []


def test_two_of_one_name_sign_and_leave_each_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    one = Presence(ProcessKind.WORKER, "celery@here")
    monkeypatch.setattr(presence, "IDENTITY", "another")
    other = Presence(ProcessKind.WORKER, "celery@here")
    one.sign(NOON)
    other.sign(NOON + SECOND)
    assert len(seen()) == 2
    one.leave()
    assert seen() == [NOON + SECOND]


def test_who_starts_again_takes_the_place_of_the_one_that_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    Presence(ProcessKind.WORKER, "celery@here").sign(NOON)
    monkeypatch.setattr(presence, "IDENTITY", "the next one")
    Presence(ProcessKind.WORKER, "celery@here").sign(NOON + 60 * SECOND)
    assert seen() == [NOON + 60 * SECOND]


def test_who_is_long_gone_is_forgotten() -> None:
    Presence(ProcessKind.WORKER, "celery@old").sign(NOON - timedelta(days=2))
    Presence(ProcessKind.WORKER, "celery@recent").sign(NOON - timedelta(hours=2))
    Presence(ProcessKind.WORKER, "celery@here").sign(NOON)
    assert set(ServiceProcess.objects.values_list("name", flat=True)) == {"celery@here", "celery@recent"}


def test_a_clock_that_differs_from_the_databases_is_on_record_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    worker = Presence(ProcessKind.WORKER, "celery@here")
    with time_machine.travel(NOON + 120 * SECOND, tick=False):
        worker.sign(NOON)
        worker.sign(NOON + 11 * SECOND)
    offset = ServiceProcess.objects.get().clock_offset
    with time_machine.travel(NOON + 22 * SECOND, tick=False):
        worker.sign(NOON + 22 * SECOND)

    assert offset == 109 * SECOND
    assert ServiceProcess.objects.get().clock_offset == 0 * SECOND
    assert [record.getMessage() for record in caplog.records if "clock" in record.getMessage()] == [
        "The clock of this machine and the database's differ by 120 s; synchronize them",
        "The clock of this machine agrees with the database's again",
    ]
