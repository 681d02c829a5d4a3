"""Golden cases of intervals, one-off and clocked schedules, and of clocks that differ or are set."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.db import transaction
from django_celery_beat.models import ClockedSchedule, IntervalSchedule, PeriodicTask

from jobledger import clock
from jobledger.models import NextSlot, Run, SchedulePolicy
from jobledger.schedules.due import ledger
from jobledger.schedules.reconciliation import Reconciliation
from tests.unit.jobledger.schedules.builders import NOON
from tests.unit.jobledger.schedules.stock import stock_interval
from tests.unit.jobledger.schedules.times import utc

pytestmark = pytest.mark.django_db

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
DAY = timedelta(days=1)


class Clocks:
    """The database's clock, and how far this process's is ahead of it."""

    def __init__(self, traveller: time_machine.Traveller) -> None:
        self._traveller, self.now, self._ahead = traveller, NOON, timedelta(0)

    def set(self, now: datetime, *, ahead: timedelta | None = None) -> None:
        self.now, self._ahead = now, self._ahead if ahead is None else ahead
        self._traveller.move_to(self.now + self._ahead, tick=False)

    def beat_until(self, end: datetime, step: timedelta = MINUTE) -> None:
        """Beat ticks now and then, and a worker starts everything at once."""
        while self.now <= end:
            batch = ledger.record_due(self.now)
            ledger.update_run_counts([*batch.queued, *batch.not_started], self.now)
            Run.objects.filter(status="queued").update(status="succeeded", publish_after=None)
            self.set(self.now + step)


@pytest.fixture(autouse=True)
def clocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clocks]:
    """It is noon."""
    with time_machine.travel(NOON, tick=False) as traveller:
        made = Clocks(traveller)
        monkeypatch.setattr(clock, "now", lambda: made.now)
        yield made


def every(minutes: int, name: str = "every", **values: Any) -> PeriodicTask:
    interval, _ = IntervalSchedule.objects.get_or_create(every=minutes, period="minutes")
    made: PeriodicTask = PeriodicTask.objects.create(
        **{"name": name, "task": "probes.probe", "interval": interval, **values}
    )
    return made


def slots(**filters: Any) -> list[timedelta]:
    """The slots that ran, counted from noon."""
    ran = Run.objects.filter(status="succeeded", **filters).order_by("scheduled_for", "pk")
    return [run.scheduled_for - NOON for run in ran if run.scheduled_for]


# --- Start times


def test_without_a_start_time_the_first_run_is_one_interval_after_the_creation(clocks: Clocks) -> None:
    every(20)
    clocks.beat_until(NOON + HOUR)
    assert slots() == [20 * MINUTE, 40 * MINUTE, HOUR]


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (timedelta(0), [20 * MINUTE, 40 * MINUTE, HOUR]),
        (-5 * MINUTE, [15 * MINUTE, 35 * MINUTE, 55 * MINUTE]),
        (-3 * DAY - 5 * MINUTE, [15 * MINUTE, 35 * MINUTE, 55 * MINUTE]),
        (30 * MINUTE, [30 * MINUTE, 50 * MINUTE]),
        (2 * HOUR, []),
    ],
)
def test_the_grid_counts_from_the_start_time_and_nothing_before_it_or_the_creation_runs(
    clocks: Clocks, start: timedelta, expected: list[timedelta]
) -> None:
    every(20, start_time=NOON + start)
    clocks.beat_until(NOON + HOUR)
    assert slots() == expected


def test_moving_the_start_time_starts_nothing_in_the_past(clocks: Clocks) -> None:
    schedule = every(20)
    clocks.beat_until(NOON + 25 * MINUTE)
    schedule.start_time = NOON + 2 * MINUTE
    schedule.save()
    clocks.beat_until(NOON + HOUR)
    assert slots() == [20 * MINUTE, 42 * MINUTE]


def test_a_start_time_between_two_slots_of_the_old_grid_replaces_it(clocks: Clocks) -> None:
    schedule = every(20)
    schedule.start_time = NOON + 30 * MINUTE
    schedule.save()
    clocks.beat_until(NOON + HOUR)
    assert slots() == [30 * MINUTE, 50 * MINUTE]


# --- Clock changes of a zone


@pytest.mark.parametrize("noon", ["2026-03-28 12:00", "2026-10-24 12:00"])
def test_a_day_is_24_hours_also_when_the_clocks_change(clocks: Clocks, noon: str) -> None:
    clocks.set(utc(noon))
    every(24 * 60)
    clocks.beat_until(utc(noon) + 2 * DAY, step=HOUR)
    london = [
        run.scheduled_for.astimezone(ZoneInfo("Europe/London"))
        for run in Run.objects.order_by("scheduled_for")
        if run.scheduled_for
    ]
    assert [at - utc(noon) for at in london] == [DAY, 2 * DAY]
    assert len({at.hour for at in (*london, utc(noon).astimezone(ZoneInfo("Europe/London")))}) == 2


# --- One-off and clocked schedules


@pytest.mark.parametrize(("start", "expected"), [(None, 20), (30, 30), (-30, 10)])
def test_a_one_off_interval_runs_at_its_first_slot_and_is_disabled(
    clocks: Clocks, start: int | None, expected: int
) -> None:
    schedule = every(20, one_off=True, start_time=None if start is None else NOON + start * MINUTE)
    clocks.beat_until(NOON + 2 * HOUR)
    schedule.refresh_from_db()
    assert (slots(), schedule.enabled) == ([expected * MINUTE], False)


def test_a_one_off_interval_that_is_enabled_again_runs_once_more(clocks: Clocks) -> None:
    schedule = every(20, one_off=True)
    clocks.beat_until(NOON + 30 * MINUTE)
    schedule.refresh_from_db()
    schedule.enabled = True
    schedule.save()
    clocks.beat_until(NOON + 2 * HOUR)
    schedule.refresh_from_db()
    assert (slots(), schedule.enabled) == ([20 * MINUTE, 40 * MINUTE], False)


def clocked(name: str, at: ClockedSchedule) -> PeriodicTask:
    made: PeriodicTask = PeriodicTask.objects.create(name=name, task="probes.probe", clocked=at, one_off=True)
    return made


def test_clocked_twins_run_once_each_and_move_together(clocks: Clocks) -> None:
    at = ClockedSchedule.objects.create(clocked_time=NOON + 10 * MINUTE)
    one, other = clocked("one", at), clocked("other", at)
    at.clocked_time = NOON + 30 * MINUTE
    at.save()
    clocks.beat_until(NOON + 20 * MINUTE)
    assert slots() == []
    other.delete()
    clocks.beat_until(NOON + HOUR)
    assert slots() == [30 * MINUTE]
    assert Run.objects.get().schedule == one


def test_a_clocked_time_that_has_passed_starts_nothing(clocks: Clocks) -> None:
    clocked("late", ClockedSchedule.objects.create(clocked_time=NOON - MINUTE))
    clocks.beat_until(NOON + HOUR)
    assert slots() == []


# --- Deleting and creating


@pytest.mark.parametrize("keeps_its_id", [False, True])
def test_a_schedule_that_is_deleted_and_created_in_one_transaction_starts_anew(
    clocks: Clocks, keeps_its_id: bool
) -> None:
    old = every(20)
    clocks.beat_until(NOON + 25 * MINUTE)
    values = {"pk": old.pk} if keeps_its_id else {}
    with transaction.atomic():
        old.delete()
        new = every(20, **values)
    assert clocks.now == NOON + 26 * MINUTE
    clocks.beat_until(NOON + HOUR)
    assert slots() == [20 * MINUTE, 46 * MINUTE]
    assert [run.schedule for run in Run.objects.order_by("scheduled_for")] == [None, new]


def test_a_schedule_that_is_created_and_deleted_in_one_transaction_leaves_nothing(clocks: Clocks) -> None:
    with transaction.atomic():
        every(1).delete()
    clocks.beat_until(NOON + 5 * MINUTE)
    assert (slots(), NextSlot.objects.count(), SchedulePolicy.objects.count()) == ([], 0, 0)


def test_the_slot_at_which_it_was_created_again_does_not_run_twice(clocks: Clocks) -> None:
    old = every(20)
    clocks.beat_until(NOON + 20 * MINUTE - SECOND)
    clocks.set(NOON + 20 * MINUTE)
    ledger.record_due(clocks.now)
    with transaction.atomic():
        old.delete()
        every(20, pk=old.pk, start_time=NOON)
    clocks.beat_until(NOON + 45 * MINUTE)
    assert slots() == [20 * MINUTE, 40 * MINUTE]


# --- Edits of django-celery-beat's own field


@pytest.mark.parametrize("last_run_at", [None, NOON - 30 * DAY, NOON + MINUTE])
def test_an_earlier_last_run_changes_nothing(clocks: Clocks, last_run_at: datetime | None) -> None:
    every(20)
    clocks.beat_until(NOON + 25 * MINUTE)
    PeriodicTask.objects.update(last_run_at=last_run_at)
    clocks.beat_until(NOON + HOUR)
    assert slots() == [20 * MINUTE, 40 * MINUTE, HOUR]


def test_a_later_last_run_counts_as_a_run_by_another_scheduler(clocks: Clocks) -> None:
    every(20)
    clocks.beat_until(NOON + 25 * MINUTE)
    PeriodicTask.objects.update(last_run_at=NOON + 25 * MINUTE)
    clocks.beat_until(NOON + HOUR)
    assert slots() == [20 * MINUTE, 45 * MINUTE]


@pytest.mark.parametrize("signals", [False, True], ids=["without a signal", "saved"])
def test_a_last_run_in_the_future_does_not_silence_the_schedule_until_then(
    clocks: Clocks, signals: bool
) -> None:
    """As entered by mistake, or written by a scheduler whose clock is fast."""
    schedule = every(20)
    clocks.beat_until(NOON + 25 * MINUTE)
    if signals:
        schedule.refresh_from_db()
        schedule.last_run_at = NOON + 3 * DAY
        schedule.save()
    else:
        PeriodicTask.objects.update(last_run_at=NOON + 3 * DAY)
    clocks.beat_until(NOON + 2 * HOUR)
    assert len(slots()) >= 1 + 3
    assert min(slots()[1:]) > 25 * MINUTE


# --- Clocks that are set back


@pytest.mark.parametrize("batch", [False, True])
def test_a_clock_that_is_set_back_by_an_hour_repeats_nothing_and_then_goes_on(
    clocks: Clocks, batch: bool
) -> None:
    every(20)
    if batch:
        every(20, "another")
    clocks.beat_until(NOON + HOUR)
    clocks.set(NOON)
    clocks.beat_until(NOON + 2 * HOUR)
    once = [number * 20 * MINUTE for number in range(1, 7)]
    assert slots() == sorted(once * (2 if batch else 1))


def test_an_edit_after_the_clock_was_set_back_repeats_nothing(clocks: Clocks) -> None:
    schedule = every(20)
    clocks.beat_until(NOON + HOUR)
    clocks.set(NOON)
    schedule.description = "changed"
    schedule.save()
    Reconciliation().step()
    clocks.beat_until(NOON + 90 * MINUTE)
    assert slots() == [20 * MINUTE, 40 * MINUTE, HOUR, 80 * MINUTE]


def test_a_new_timing_after_the_clock_was_set_back_counts_from_then(clocks: Clocks) -> None:
    schedule = every(20)
    clocks.beat_until(NOON + HOUR)
    clocks.set(NOON)
    schedule.interval = IntervalSchedule.objects.create(every=30, period="minutes")
    schedule.save()
    clocks.beat_until(NOON + HOUR + 30 * MINUTE)
    assert slots() == [20 * MINUTE, 30 * MINUTE, 40 * MINUTE, HOUR, 90 * MINUTE]


# --- Clocks that differ


@pytest.mark.parametrize("ahead", [-5 * MINUTE, 5 * MINUTE], ids=["slow", "fast"])
class TestAProcessWhoseClockDiffersFromTheDatabases:
    def test_a_new_interval_counts_from_its_creation_by_the_databases_clock(
        self, clocks: Clocks, ahead: timedelta
    ) -> None:
        clocks.set(NOON, ahead=ahead)
        every(60)
        clocks.beat_until(NOON + 2 * HOUR)
        assert slots() == [HOUR, 2 * HOUR]

    def test_an_adopted_interval_does_not_run_before_its_time(self, clocks: Clocks, ahead: timedelta) -> None:
        """Its last run was written by a scheduler with that clock."""
        stock_interval(1, "hours", last_run_at=NOON + ahead)
        while not Reconciliation().step():
            pass
        clocks.beat_until(NOON + HOUR)
        assert slots() == [min(HOUR, HOUR + ahead)]

    def test_a_run_by_another_scheduler_with_that_clock_runs_nothing_twice(
        self, clocks: Clocks, ahead: timedelta
    ) -> None:
        every(60)
        clocks.beat_until(NOON + HOUR - MINUTE)
        # It has run the slot of 13:00, and says so by its own clock.
        said = HOUR + ahead + SECOND
        PeriodicTask.objects.update(last_run_at=NOON + said)
        clocks.beat_until(NOON + 130 * MINUTE)
        assert slots() == [min(said, HOUR) + HOUR]
