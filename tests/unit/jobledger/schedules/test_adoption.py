"""What django-celery-beat's own scheduler has run keeps its meaning, and nothing runs twice."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest
import time_machine
from celery import current_app
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import ModelEntry

from jobledger.models import Dialect, NextSlot, Run, SchedulePolicy
from jobledger.schedules import adoption, stored_schedules, stored_times
from jobledger.schedules.due import ledger
from jobledger.schedules.reconciliation import Reconciliation
from tests.unit.jobledger.schedules.builders import NOON, hourly
from tests.unit.jobledger.schedules.stock import CREATED, stock_clocked, stock_cron, stock_interval
from tests.unit.jobledger.schedules.times import utc

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """The time of all saves in these tests."""
    with time_machine.travel(NOON, tick=False):
        yield


def start_beat(now: datetime = NOON) -> None:
    """The first pass of a beat that has just been started."""
    with time_machine.travel(now, tick=False):
        while not Reconciliation().step():
            pass


def recorded() -> list[tuple[datetime | None, str]]:
    return list(Run.objects.order_by("scheduled_for").values_list("scheduled_for", "status"))


def dialect_of(schedule: PeriodicTask) -> str:
    return SchedulePolicy.objects.get(schedule=schedule).dialect


@pytest.mark.parametrize(
    ("expression", "zone", "dialect"),
    [
        pytest.param("0 3 1-7 * mon", "UTC", Dialect.CELERY, id="both days restricted"),
        pytest.param("0 3 1-31 * mon", "UTC", Dialect.CELERY, id="one of them to all its values"),
        pytest.param("0 3 */2 * mon", "UTC", Dialect.CRON, id="a star, where cron requires both, too"),
        pytest.param("0 3 * * 7", "UTC", Dialect.CELERY, id="Celery does not accept it"),
        pytest.param("*/20-3 3 * * *", "UTC", Dialect.CELERY, id="only Celery accepts it"),
        pytest.param("0 3 1 * *", "Europe/London", Dialect.CRON, id="no clock change touches it"),
        pytest.param("30 1 * * *", "Europe/London", Dialect.CELERY, id="in the gap"),
        pytest.param("0 * * * *", "Europe/London", Dialect.CELERY, id="in the fold"),
        pytest.param("0 * * * *", "UTC", Dialect.CRON, id="a zone without clock changes"),
        pytest.param("*/5 8-17 * * mon-fri", "America/New_York", Dialect.CRON, id="working hours"),
    ],
)
def test_a_schedule_keeps_celerys_rules_only_if_cron_s_would_change_it(
    expression: str, zone: str, dialect: Dialect
) -> None:
    schedule = stock_cron(expression, zone=zone)
    start_beat()
    assert dialect_of(schedule) == dialect


def test_without_a_policy_a_schedule_is_read_as_celery_does() -> None:
    found = stored_schedules.of(stock_cron("0 3 1-7 * mon"))
    assert isinstance(found, stored_times.CronTimes)
    assert found.dialect is Dialect.CELERY


def test_a_schedule_made_with_the_service_follows_cron() -> None:
    assert dialect_of(hourly()) == Dialect.CRON


def test_a_save_by_the_stock_scheduler_keeps_the_meaning() -> None:
    schedule = stock_cron("0 3 1-7 * mon")
    schedule.last_run_at = NOON
    schedule.save()
    assert dialect_of(schedule) == Dialect.CELERY


def test_an_interval_counts_from_its_last_run() -> None:
    stock_interval(7, "minutes", last_run_at=NOON - 3 * MINUTE + timedelta(milliseconds=300))
    start_beat()
    assert NextSlot.objects.get().slot == NOON + 4 * MINUTE


def test_an_interval_that_has_never_run_counts_from_its_last_change() -> None:
    stock_interval(1, "hours", created=NOON - 20 * MINUTE)
    start_beat()
    assert NextSlot.objects.get().slot == NOON + 40 * MINUTE


def test_an_interval_with_a_start_time_still_counts_from_its_last_run() -> None:
    start = NOON - timedelta(days=3) - 90 * SECOND
    schedule = stock_interval(1, "hours", start_time=start, last_run_at=NOON - 5 * MINUTE)
    start_beat()
    assert NextSlot.objects.get().slot == NOON + 55 * MINUTE
    assert dialect_of(schedule) == Dialect.CELERY


def test_an_interval_whose_start_time_is_ahead_starts_then() -> None:
    start = NOON + timedelta(days=3) + 90 * SECOND
    stock_interval(1, "hours", start_time=start, last_run_at=NOON - 5 * MINUTE)
    start_beat()
    assert NextSlot.objects.get().slot == start


def test_the_deadline_of_celery_applies_to_crontabs(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = SimpleNamespace(beat_cron_starting_deadline=600)
    monkeypatch.setattr(adoption, "current_app", SimpleNamespace(conf=conf))
    crontab, interval = stock_cron("0 3 * * *"), stock_interval(1, "hours", "interval")
    start_beat()
    assert SchedulePolicy.objects.get(schedule=crontab).starting_deadline == 10 * MINUTE
    assert SchedulePolicy.objects.get(schedule=interval).starting_deadline is None


def test_slots_missed_while_the_schedulers_were_switched_are_caught_up_on_once() -> None:
    stock_cron("0 * * * *", last_run_at=NOON - 2 * HOUR + SECOND)
    start_beat(NOON + 5 * MINUTE)
    assert recorded() == [(NOON, "queued")]


@pytest.mark.parametrize("last_run_at", [NOON - 30 * DAY, None])
def test_nothing_is_recorded_about_times_before_the_adoption(last_run_at: datetime | None) -> None:
    stock_cron("*/10 * * * *", "crontab", last_run_at=last_run_at)
    stock_interval(10, "minutes", "interval", last_run_at=last_run_at)
    start_beat(NOON + 5 * MINUTE)
    assert recorded() == [(NOON, "queued"), (NOON + 5 * MINUTE, "queued")]


@pytest.mark.parametrize("late", [HOUR, 2 * DAY])
@pytest.mark.parametrize("created", [NOON - 100 * DAY, NOON])
def test_a_clocked_schedule_whose_time_has_passed_starts_once(late: timedelta, created: datetime) -> None:
    stock_clocked(NOON - late, created=created)
    start_beat()
    assert recorded() == [(NOON - late, "queued")]
    assert not PeriodicTask.objects.get().enabled


def test_an_overdue_interval_starts_at_once_and_counts_from_there() -> None:
    stock_interval(7, "days", last_run_at=NOON - 9 * DAY)
    start_beat(NOON)
    assert recorded() == [(NOON, "queued")]
    assert NextSlot.objects.get().slot == NOON + 7 * DAY


def test_what_has_never_run_starts_once_its_start_time_has_come() -> None:
    stock_cron("0 * * * *", "crontab", start_time=NOON - 3 * HOUR, created=NOON)
    stock_interval(7, "days", "interval", start_time=NOON - 3 * HOUR, created=NOON + MINUTE)
    start_beat(NOON + MINUTE)
    assert recorded() == [(NOON, "queued"), (NOON + MINUTE, "queued")]


def test_a_slot_past_the_deadline_of_celery_leaves_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        adoption, "current_app", SimpleNamespace(conf=SimpleNamespace(beat_cron_starting_deadline=60))
    )
    stock_cron("0 * * * *", last_run_at=NOON - 2 * HOUR)
    start_beat(NOON + 5 * MINUTE)
    assert recorded() == []


def test_a_schedule_that_has_expired_leaves_no_record() -> None:
    stock_cron("0 * * * *", last_run_at=NOON - 9 * HOUR, expires=NOON - HOUR)
    start_beat()
    assert recorded() == []


def test_times_that_passed_after_the_adoption_are_recorded() -> None:
    stock_cron("0 * * * *", last_run_at=NOON - 30 * MINUTE)
    ledger.take_over([PeriodicTask.objects.get().pk], NOON + MINUTE)
    ledger.record_due(NOON + HOUR + 5 * MINUTE)
    assert recorded() == [(NOON, "missed"), (NOON + HOUR, "queued")]


def test_a_slot_that_the_stock_scheduler_has_run_is_not_run_again() -> None:
    stock_cron("0 * * * *", last_run_at=NOON + SECOND)
    start_beat(NOON + 5 * MINUTE)
    assert recorded() == []
    assert NextSlot.objects.get().slot == NOON + HOUR


def test_a_schedule_that_has_not_run_for_long_starts_once() -> None:
    stock_cron("0 3 1 * *", last_run_at=NOON - 60 * DAY)
    start_beat()
    assert recorded() == [(utc("2026-03-01T03:00"), "queued")]


def test_a_clocked_schedule_that_has_run_does_not_run_again() -> None:
    stock_clocked(NOON - MINUTE, last_run_at=NOON - MINUTE + SECOND, total_run_count=1)
    start_beat()
    assert recorded() == []


def test_a_one_off_schedule_that_has_run_does_not_run_again() -> None:
    stock_cron("0 * * * *", one_off=True, last_run_at=NOON + SECOND, total_run_count=1)
    start_beat(NOON + MINUTE)
    ledger.record_due(NOON + 2 * HOUR)
    assert recorded() == []
    assert not PeriodicTask.objects.get().enabled


def test_a_one_off_schedule_that_has_not_run_yet_runs_once() -> None:
    stock_cron("0 * * * *", one_off=True, created=NOON - MINUTE)
    start_beat(NOON + MINUTE)
    assert recorded() == [(NOON, "queued")]


class TestWhileTheStockSchedulerRuns:
    """The service is installed, but its beat is not started yet."""

    @staticmethod
    def save_run(schedule: PeriodicTask, at: datetime) -> None:
        """As the stock scheduler stores a run, here at once instead of every three minutes."""
        with time_machine.travel(at, tick=False):
            next(ModelEntry(PeriodicTask.objects.get(pk=schedule.pk), app=current_app)).save()

    def test_its_runs_are_not_recorded_as_slots(self) -> None:
        schedule = stock_cron("0 * * * *", last_run_at=NOON - HOUR)
        for hours in range(3):
            self.save_run(schedule, NOON + hours * HOUR + SECOND)
        assert recorded() == []
        start_beat(NOON + 2 * HOUR + MINUTE)
        ledger.record_due(NOON + 3 * HOUR)
        assert recorded() == [(NOON + 3 * HOUR, "queued")]

    def test_an_edit_records_nothing_that_it_has_run_but_not_stored(self) -> None:
        schedule = stock_cron("0 * * * *", last_run_at=NOON - HOUR)
        self.save_run(schedule, NOON + SECOND)
        with time_machine.travel(NOON + HOUR + MINUTE, tick=False):
            PeriodicTask.objects.get().save()
        assert recorded() == []

    def test_the_services_beat_continues_after_its_last_run(self) -> None:
        schedule = stock_cron("0 * * * *", last_run_at=NOON - HOUR)
        self.save_run(schedule, NOON + SECOND)
        ledger.record_due(NOON + HOUR + MINUTE)
        assert recorded() == [(NOON + HOUR, "queued")]

    def test_an_interval_counts_from_the_last_run_that_it_stored(self) -> None:
        schedule = stock_interval(1, "hours", last_run_at=NOON - HOUR)
        self.save_run(schedule, NOON)
        self.save_run(schedule, NOON + HOUR + 20 * MINUTE)
        assert SchedulePolicy.objects.get().anchor == NOON + HOUR + 20 * MINUTE
        start_beat(NOON + HOUR + 30 * MINUTE)
        assert NextSlot.objects.get().slot == NOON + 2 * HOUR + 20 * MINUTE
        assert recorded() == []

    def test_an_interval_counts_from_its_last_run_that_was_stored_without_a_signal(self) -> None:
        schedule = stock_interval(1, "hours", last_run_at=NOON - HOUR)
        self.save_run(schedule, NOON)
        PeriodicTask.objects.update(last_run_at=NOON + HOUR + 20 * MINUTE)
        ledger.record_due(NOON + HOUR + 30 * MINUTE)
        assert NextSlot.objects.get().slot == NOON + 2 * HOUR + 20 * MINUTE
        assert recorded() == []

    def test_its_runs_do_not_move_an_interval_that_this_beat_runs(self) -> None:
        stock_interval(1, "hours", last_run_at=NOON - 10 * MINUTE)
        start_beat()
        for hours in range(1, 3):
            batch = ledger.record_due(NOON + hours * HOUR)
            ledger.update_run_counts(batch.queued, NOON + hours * HOUR)
        ledger.sync([PeriodicTask.objects.get().pk], NOON + 2 * HOUR, is_beat=True)
        assert NextSlot.objects.get().slot == NOON + 2 * HOUR + 50 * MINUTE

    def test_an_interval_that_is_enabled_again_stays_on_its_grid(self) -> None:
        schedule = stock_interval(1, "hours", last_run_at=NOON - 10 * MINUTE)
        start_beat()
        late = NOON + 55 * MINUTE
        ledger.update_run_counts(ledger.record_due(late).queued, late)
        PeriodicTask.objects.update(enabled=False)
        ledger.sync([schedule.pk], late + MINUTE)
        PeriodicTask.objects.update(enabled=True)
        ledger.sync([schedule.pk], late + 2 * MINUTE)
        ledger.sync([schedule.pk], late + 3 * MINUTE, is_beat=True)
        assert NextSlot.objects.get().slot == NOON + HOUR + 50 * MINUTE

    def test_switching_back_and_forth_runs_nothing_twice(self) -> None:
        schedule = stock_cron("0 * * * *", last_run_at=NOON - HOUR + SECOND)
        start_beat(NOON - MINUTE)
        batch = ledger.record_due(NOON)
        ledger.update_run_counts(batch.queued, NOON)
        entry = ModelEntry(PeriodicTask.objects.get(), app=current_app)
        with time_machine.travel(NOON + MINUTE, tick=False):
            assert not entry.is_due().is_due
        self.save_run(schedule, NOON + HOUR + SECOND)
        ledger.record_due(NOON + HOUR + MINUTE)
        assert recorded() == [(NOON, "queued")]


class TestSwitchingBack:
    """What the service's beat leaves in django-celery-beat's own fields."""

    @staticmethod
    def is_due(now: datetime) -> bool:
        """Whether the stock scheduler would start the schedule as soon as it is started."""
        with time_machine.travel(now, tick=False):
            return bool(ModelEntry(PeriodicTask.objects.get(), app=current_app).is_due().is_due)

    @staticmethod
    def tick(now: datetime) -> None:
        batch = ledger.record_due(now)
        ledger.update_run_counts([*batch.queued, *batch.not_started], now)

    def test_a_slot_that_ran_is_not_run_again(self) -> None:
        hourly(handled_until=NOON - MINUTE)
        self.tick(NOON)
        assert not self.is_due(NOON + MINUTE)
        assert PeriodicTask.objects.get().total_run_count == 1

    def test_a_slot_that_was_missed_is_not_run_afterwards(self) -> None:
        schedule = hourly(handled_until=NOON - 2 * HOUR)
        PeriodicTask.objects.update(last_run_at=NOON - 2 * HOUR)
        NextSlot.objects.update(recorded_at=NOON - 2 * HOUR)
        SchedulePolicy.objects.filter(schedule=schedule).update(misfire="skip")
        self.tick(NOON + 30 * MINUTE)
        assert not self.is_due(NOON + 31 * MINUTE)
        assert PeriodicTask.objects.get().total_run_count == 0

    def test_a_one_off_schedule_runs_again_if_it_is_enabled_again(self) -> None:
        hourly(handled_until=NOON - MINUTE, one_off=True)
        self.tick(NOON)
        PeriodicTask.objects.update(enabled=True)
        assert self.is_due(NOON + HOUR)


def test_taking_over_records_nothing_and_can_be_repeated() -> None:
    schedule = stock_cron("0 3 1-7 * mon", last_run_at=NOON - timedelta(days=60))
    stock_interval(1, "hours", "interval", last_run_at=NOON - 90 * MINUTE)
    ledger.take_over(list(PeriodicTask.objects.values_list("pk", flat=True)), NOON)
    rows = list(NextSlot.objects.order_by("pk").values())
    assert [row["slot"] for row in rows] == [utc("2026-03-02T03:00"), NOON]
    assert dialect_of(schedule) == Dialect.CELERY
    ledger.take_over(list(PeriodicTask.objects.values_list("pk", flat=True)), NOON + HOUR)
    assert list(NextSlot.objects.order_by("pk").values()) == rows
    assert recorded() == []


def test_what_was_due_when_it_was_taken_over_runs_when_beat_starts() -> None:
    stock_interval(1, "hours", last_run_at=NOON - 90 * MINUTE)
    ledger.take_over([PeriodicTask.objects.get().pk], NOON)
    ledger.record_due(NOON + MINUTE)
    assert recorded() == [(NOON, "queued")]


def test_without_a_policy_an_interval_counts_from_its_last_change() -> None:
    schedule = stock_interval(7, "minutes")
    assert SchedulePolicy.of(schedule).anchor == CREATED


def test_an_expression_that_cannot_be_read_at_all_does_not_mean_the_same() -> None:
    schedule = stock_cron("x 3 * * *")
    assert adoption.policy_of_found(schedule, NOON).dialect == Dialect.CELERY


def test_a_change_of_the_dialect_is_noticed_without_a_signal() -> None:
    schedule = stock_cron("0 3 1-7 * mon", last_run_at=NOON)
    start_beat()
    SchedulePolicy.objects.filter(schedule=schedule).update(dialect=Dialect.CRON)
    start_beat(NOON + MINUTE)
    assert NextSlot.objects.get().slot == utc("2026-03-03T03:00")
    assert recorded() == []


def test_an_edit_while_beat_is_down_loses_no_slot_of_an_adopted_schedule() -> None:
    schedule = stock_cron("0 * * * *", last_run_at=NOON - 30 * MINUTE)
    start_beat(NOON - 20 * MINUTE)
    other = hourly("other")
    NextSlot.objects.filter(schedule=other).update(recorded_at=NOON - 10 * MINUTE)
    with time_machine.travel(NOON + MINUTE, tick=False):
        PeriodicTask.objects.get(pk=schedule.pk).save()
    assert recorded() == [(NOON, "queued")]
