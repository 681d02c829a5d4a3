"""``jobledger give_back``: the stock scheduler continues where beat stopped."""

import io
from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
import time_machine
from celery import current_app
from django.core.management import call_command
from django_celery_beat.models import PeriodicTask, PeriodicTasks
from django_celery_beat.schedulers import ModelEntry

from jobledger.models import NextSlot, Pause, ProcessKind, Run, SchedulePolicy, ServiceProcess, Status
from jobledger.schedules.adoption import stock
from jobledger.schedules.due import ledger
from tests.unit.jobledger.schedules.builders import NOON, every, hourly
from tests.unit.jobledger.schedules.stock import stock_cron
from tests.unit.jobledger.schedules.times import utc

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON + MINUTE, tick=False):
        yield


def give_back(*line: str) -> tuple[list[str], str]:
    """The lines that it prints on stdout, and what it prints on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "give_back", *line, stdout=stdout, stderr=stderr)
    return stdout.getvalue().splitlines(), stderr.getvalue()


def starts(schedule: PeriodicTask, now: datetime = NOON + MINUTE, count: int = 2) -> list[datetime]:
    """When the stock scheduler, started now, starts the schedule."""
    return stock.next_starts(PeriodicTask.objects.get(pk=schedule.pk), now, count)


def test_it_continues_with_the_next_slot() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    ledger.record_due(NOON)
    assert give_back()[1] == "Stored where to continue for 1 schedule.\n"
    assert starts(schedule) == [NOON + HOUR, NOON + 2 * HOUR]
    entry = ModelEntry(PeriodicTask.objects.get(), app=current_app)
    assert not entry.is_due().is_due
    with time_machine.travel(NOON + HOUR, tick=False):
        assert entry.is_due().is_due


def test_what_became_due_after_beat_stopped_is_started() -> None:
    schedule = hourly(handled_until=NOON - HOUR - MINUTE)
    ledger.record_due(NOON - HOUR)
    give_back()
    assert starts(schedule) == [NOON + MINUTE, NOON + HOUR]


def test_an_interval_stays_on_its_grid() -> None:
    schedule = every(7 * 60, handled_until=NOON - 10 * MINUTE)
    batch = ledger.record_due(NOON)
    ledger.update_run_counts(batch.queued, NOON)
    slot = NextSlot.objects.get().slot
    assert slot is not None
    give_back()
    assert starts(schedule) == [slot, slot + 7 * MINUTE]


def test_a_schedule_that_has_never_run_is_not_started_at_once() -> None:
    schedule = stock_cron("0 3 * * *", "new", created=NOON - timedelta(days=3))
    SchedulePolicy.objects.create(schedule=schedule)
    ledger.sync([schedule.pk], NOON)
    assert starts(schedule)[0] == NOON + MINUTE
    give_back()
    assert starts(schedule) == [utc("2026-03-03T03:00"), utc("2026-03-04T03:00")]


def test_a_schedule_is_not_started_by_its_start_time() -> None:
    schedule = hourly(start_time=NOON + 150 * MINUTE)
    assert starts(schedule)[0] == NOON + 150 * MINUTE
    give_back()
    assert starts(schedule) == [NOON + 3 * HOUR, NOON + 4 * HOUR]


def test_it_changes_nothing_the_second_time() -> None:
    hourly(handled_until=NOON - MINUTE)
    ledger.record_due(NOON)
    give_back()
    assert give_back()[1] == "Stored where to continue for 0 schedules.\n"


def test_checking_stores_nothing() -> None:
    hourly(handled_until=NOON - MINUTE)
    give_back("--check")
    assert PeriodicTask.objects.get().last_run_at is None


def test_it_warns_if_beat_may_still_be_running() -> None:
    ServiceProcess.objects.create(kind=ProcessKind.BEAT, name="b", seen_at=NOON + 50 * SECOND)
    assert "Beat was last seen 10 s ago. If it is still running, stop it" in give_back()[1]
    assert give_back("--check")[1] == ""


def test_the_other_scheduler_is_notified() -> None:
    before = PeriodicTasks.last_change()
    with time_machine.travel(NOON + HOUR, tick=False):
        give_back()
    assert PeriodicTasks.last_change() != before


def test_what_will_be_different_is_printed() -> None:
    monday = stock_cron("0 3 1-7 * mon", "monday")
    sunday = stock_cron("0 3 * * 7", "sunday")
    gone = stock_cron("0 * * * *", "gone", task="probes.gone")
    for schedule in monday, sunday, gone:
        SchedulePolicy.objects.create(schedule=schedule)
        ledger.sync([schedule.pk], NOON)
    PeriodicTask.objects.update(last_run_at=NOON)
    assert give_back("--check")[0][:3] == [
        "gone: it is never started here, but will be, next at 2026-03-02T13:00:00+00:00",
        "monday: it will be started at other times, next at 2026-04-06T03:00:00+00:00",
        "sunday: it will never be started: Celery does not accept its expression",
    ]


def test_what_is_left_behind_is_counted() -> None:
    Pause.objects.create(schedule=hourly())
    Run.objects.create(job="probe", status=Status.QUEUED)
    assert give_back("--check")[0] == [
        "Queued runs: 1. No message of them is sent again: wait for them, or cancel them.",
        "Pauses: 1. They have no effect: disable the schedules instead.",
        "Schedules of jobs: 1. Delete them before you uninstall jobledger.",
    ]
