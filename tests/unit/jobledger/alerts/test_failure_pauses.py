"""A schedule is paused after too many failures in a row, if that is asked for, and resumes as usual."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.models import Alert, Pause, SchedulePolicy
from jobledger.schedules import pausing
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.alerts.builders import CANCELLED, destination, end, fail, rule, succeed, told
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]


@pytest.fixture
def schedule(monkeypatch: pytest.MonkeyPatch) -> PeriodicTask:
    """A schedule whose job asks for a pause after three failures."""
    monkeypatch.setattr(Probe, "pause_after_failures", 3)
    return hourly()


def failing(schedule: PeriodicTask, clock: time_machine.Traveller, count: int) -> None:
    for _ in range(count):
        clock.shift(60)
        fail(schedule=schedule, schedule_name=schedule.name)


def is_paused(schedule: PeriodicTask) -> bool:
    return pausing.active_pauses(schedule, timezone.now()).exists()


def test_a_schedule_is_paused_after_enough_failures(
    schedule: PeriodicTask, clock: time_machine.Traveller
) -> None:
    failing(schedule, clock, 2)
    assert not is_paused(schedule)
    failing(schedule, clock, 1)
    pause = Pause.objects.get()
    assert (pause.schedule_id, pause.since, pause.until) == (schedule.pk, timezone.now(), None)
    assert pausing.terms_of(pause, timezone.now()) == "until resumed: its last 3 runs failed"


def test_a_success_in_between_starts_the_count_again(
    schedule: PeriodicTask, clock: time_machine.Traveller
) -> None:
    failing(schedule, clock, 2)
    clock.shift(60)
    succeed(schedule=schedule)
    failing(schedule, clock, 2)
    assert not is_paused(schedule)


def test_a_cancelled_run_is_no_failure(schedule: PeriodicTask, clock: time_machine.Traveller) -> None:
    failing(schedule, clock, 2)
    clock.shift(60)
    end(CANCELLED, schedule=schedule)
    assert not is_paused(schedule)
    failing(schedule, clock, 1)
    assert is_paused(schedule)


def test_runs_without_a_schedule_pause_nothing(schedule: PeriodicTask, clock: time_machine.Traveller) -> None:
    for _ in range(5):
        fail()
    assert not Pause.objects.exists()


def test_a_pause_with_a_length_ends_by_itself(
    schedule: PeriodicTask, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probe, "failure_pause", timedelta(hours=1))
    failing(schedule, clock, 3)
    clock.shift(timedelta(minutes=59))
    assert is_paused(schedule)
    clock.shift(timedelta(minutes=1))
    assert not is_paused(schedule)


def test_a_pause_may_be_as_long_as_a_duration_can_be(
    schedule: PeriodicTask, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probe, "failure_pause", timedelta.max)
    failing(schedule, clock, 3)
    assert is_paused(schedule)


def test_after_a_pause_failures_are_counted_anew(
    schedule: PeriodicTask, clock: time_machine.Traveller
) -> None:
    failing(schedule, clock, 3)
    clock.shift(60)
    pausing.resume(schedule, now=timezone.now())
    failing(schedule, clock, 2)
    assert not is_paused(schedule)
    failing(schedule, clock, 1)
    assert is_paused(schedule)


def test_a_run_that_fails_while_its_schedule_is_paused_makes_no_second_pause(
    schedule: PeriodicTask, clock: time_machine.Traveller
) -> None:
    failing(schedule, clock, 5)
    assert Pause.objects.count() == 1


@pytest.mark.parametrize(("own", "failures", "expected"), [(1, 1, True), (0, 9, False), (None, 3, True)])
def test_the_schedule_overrides_what_its_job_declares(
    schedule: PeriodicTask, clock: time_machine.Traveller, own: int | None, failures: int, expected: bool
) -> None:
    SchedulePolicy.objects.filter(schedule=schedule).update(pause_after_failures=own)
    failing(schedule, clock, failures)
    assert is_paused(schedule) is expected


def test_the_pause_is_told_once(schedule: PeriodicTask, clock: time_machine.Traveller) -> None:
    rule(destination())
    failing(schedule, clock, 6)
    assert sorted(told()) == ["failed", "paused"]
    alert = Alert.objects.get(kind="paused")
    assert (alert.schedule_id, alert.details["failures"]) == (schedule.pk, 3)


def test_without_a_limit_nothing_is_paused(clock: time_machine.Traveller) -> None:
    failing(hourly(), clock, 10)
    assert not Pause.objects.exists()
