"""A schedule that is due alone is recorded with few statements, and as any other would be."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, PeriodicTask, SolarSchedule

from jobledger.models import NextSlot, Run, SchedulePolicy
from jobledger.schedules import pausing
from jobledger.schedules.due import due_alone, ledger
from jobledger.schedules.pausing import Terms
from tests.unit.jobledger.schedules.builders import NOON, every, hourly, wound_back
from tests.unit.postgres import server

pytestmark = pytest.mark.django_db

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


def solar(**values: Any) -> PeriodicTask:
    sunset = SolarSchedule.objects.create(event="sunset", latitude=51.5, longitude=0)
    schedule = PeriodicTask.objects.create(name="sunset", task="probes.probe", solar=sunset, **values)
    return wound_back(schedule, NOON - MINUTE)


def rows() -> list[dict[str, Any]]:
    return [model_to_dict(each) for model in (Run, NextSlot) for each in model._default_manager.all()]


def with_policy(schedule: PeriodicTask, **values: Any) -> None:
    SchedulePolicy.objects.filter(schedule=schedule).update(**values)


ORDINARY: dict[str, Callable[[], object]] = {
    "crontab": lambda: hourly(handled_until=NOON - MINUTE),
    "interval": lambda: every(10, handled_until=NOON - 5 * SECOND),
    "options and routing": lambda: hourly(
        handled_until=NOON - MINUTE, kwargs='{"words": ["a"]}', queue="slow", priority=3, expire_seconds=60
    ),
    "jitter": lambda: with_policy(hourly(handled_until=NOON - MINUTE), jitter=timedelta(microseconds=1)),
    "an ordinary task": lambda: hourly(handled_until=NOON - MINUTE, task="tests.probes.tasks.add"),
}


@pytest.mark.parametrize("make", ORDINARY.values(), ids=ORDINARY)
def test_what_is_recorded_is_the_same(make: Callable[[], object]) -> None:
    make()
    before = NextSlot.objects.get()
    usual = ledger.record_due(NOON)
    expected, runs = rows(), list(Run.objects.all())
    assert [run.status for run in runs] == ["queued"]
    Run.objects.all().delete()
    before.save()
    alone = due_alone.record(NOON)
    assert alone is not None
    assert rows() == expected
    assert [model_to_dict(run) for run in alone.queued] == [model_to_dict(run) for run in usual.queued]
    assert alone.next_due_at == NextSlot.objects.get().due_at


def test_it_takes_two_statements_or_three_in_a_transaction() -> None:
    hourly(handled_until=NOON - MINUTE)
    with CaptureQueriesContext(connection) as queries:
        due_alone.record(NOON)
    # In a test, the transaction is a savepoint.
    expected = 2 if connection.vendor == "postgresql" else 5
    assert len(queries) == expected, [query["sql"] for query in queries]


def test_nothing_is_recorded_if_nothing_is_due() -> None:
    hourly(handled_until=NOON)
    NextSlot.objects.update(due_at=NOON + MINUTE)
    assert due_alone.record(NOON) == ledger.RecordedBatch()


def paused(*, is_all: bool) -> None:
    schedule = hourly()
    pausing.pause(None if is_all else schedule, Terms(until=None), now=NOON - MINUTE)
    wound_back(schedule, NOON - MINUTE)


def edited(**values: Any) -> None:
    """Without a signal."""
    hourly(handled_until=NOON - MINUTE)
    PeriodicTask.objects.update(**values)


def edited_times() -> None:
    hourly(handled_until=NOON - MINUTE)
    CrontabSchedule.objects.update(minute="30")


def without_policy() -> None:
    hourly(handled_until=NOON - MINUTE)
    SchedulePolicy.objects.all().delete()


def unreadable() -> None:
    hourly(handled_until=NOON - MINUTE)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Base'")


LEFT: dict[str, Callable[[], object]] = {
    "paused": lambda: paused(is_all=False),
    "all are paused": lambda: paused(is_all=True),
    "disabled": lambda: edited(enabled=False),
    "other options": lambda: edited(kwargs='{"words": ["x"]}'),
    "other times": edited_times,
    "no policy": without_policy,
    "unreadable": unreadable,
    "a job that is gone": lambda: edited(task="probes.gone"),
    "solar": solar,
    "one-off": lambda: hourly(handled_until=NOON - MINUTE, one_off=True),
    "missed": lambda: hourly(handled_until=NOON - timedelta(hours=2)),
    "overlap with limits": lambda: hourly(handled_until=NOON - MINUTE, task="probes.allowing"),
    "run by another scheduler": lambda: edited(last_run_at=NOON - SECOND),
}


@pytest.mark.parametrize("make", LEFT.values(), ids=LEFT)
def test_whatever_is_out_of_the_ordinary_is_left(make: Callable[[], object]) -> None:
    make()
    before = NextSlot.objects.values().get()
    assert due_alone.record(NOON) is None
    assert (NextSlot.objects.values().get(), Run.objects.count()) == (before, 0)


@pytest.mark.parametrize("make", (ORDINARY | LEFT).values(), ids=ORDINARY | LEFT)
def test_to_look_ahead_changes_nothing_whatever_is_due(make: Callable[[], object]) -> None:
    make()
    before = NextSlot.objects.values().get()
    due_alone.look_ahead(NOON)
    assert (NextSlot.objects.values().get(), Run.objects.count()) == (before, 0)


@pytest.mark.parametrize("field", ["due_at", "slot", "handled_until", "timing", "target"])
def test_a_schedule_that_was_changed_since_it_was_read_is_not_recorded(
    monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    hourly(handled_until=NOON - MINUTE)
    changed = {field: NOON - SECOND if field in ("due_at", "slot", "handled_until") else "changed"}
    save = due_alone._save

    def change_and_save(*args: Any) -> bool:
        NextSlot.objects.update(**changed)
        return save(*args)

    monkeypatch.setattr(due_alone, "_save", change_and_save)
    assert due_alone.record(NOON) == ledger.RecordedBatch()
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_locked_schedule_is_not_waited_for() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite locks no rows")
    schedule = hourly(handled_until=NOON - MINUTE)
    with server() as other:
        other.execute("BEGIN")
        other.execute("SELECT 1 FROM jobledger_nextslot WHERE schedule_id = %s FOR UPDATE", schedule.pk)
        assert due_alone.record(NOON) == ledger.RecordedBatch()
        other.execute("ROLLBACK")
    recorded = due_alone.record(NOON)
    assert recorded is not None
    assert len(recorded.queued) == 1
