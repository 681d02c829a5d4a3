"""Runs of a backfill say nothing about the present of their schedule: a backfill is reported as a whole."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.alerts import recording, watching
from jobledger.alerts.sending import message, pings
from jobledger.models import (
    Alert,
    AlertDelivery,
    AlertState,
    Backfill,
    Pause,
    Ping,
    Run,
    SchedulePolicy,
    Status,
    Trigger,
)
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.alerts.builders import destination, fail, rule, running, succeed, told
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

BACKFILL = {"trigger": Trigger.BACKFILL}


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


@pytest.fixture
def schedule() -> PeriodicTask:
    return hourly()


def test_neither_a_failure_nor_a_success_of_one_counts_for_its_schedule(schedule: PeriodicTask) -> None:
    rule(destination())
    fail(schedule=schedule, **BACKFILL)
    assert (told(), AlertState.objects.count()) == ([], 0)
    fail(schedule=schedule)
    succeed(schedule=schedule, **BACKFILL)
    assert told() == ["failed"]
    succeed(schedule=schedule)
    assert sorted(told()) == ["failed", "recovered"]


def test_those_that_were_cancelled_while_queued_are_not_reported(schedule: PeriodicTask) -> None:
    rule(destination(), kinds=["cancelled"])
    runs = [Run(job="probe", schedule=schedule, status=Status.CANCELLED, **BACKFILL) for _ in range(3)]
    recording.runs_ended(runs, NOON)
    assert told() == []


def test_they_do_not_pause_their_schedule(schedule: PeriodicTask) -> None:
    SchedulePolicy.objects.update(pause_after_failures=2)
    fail(schedule=schedule, **BACKFILL)
    fail(schedule=schedule, **BACKFILL)
    fail(schedule=schedule)
    assert not Pause.objects.exists()


def test_an_external_monitor_hears_nothing_of_them(schedule: PeriodicTask) -> None:
    SchedulePolicy.objects.update(ping_url="https://monitor.example/1")
    running(schedule=schedule, **BACKFILL)
    pings.note_starts(NOON)
    succeed(schedule=schedule, **BACKFILL)
    fail(schedule=schedule, **BACKFILL)
    assert not Ping.objects.exists()
    fail(schedule=schedule)
    assert Ping.objects.count() == 2


def test_they_may_wait_and_take_long(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    monkeypatch.setattr(Probe, "expected_duration", timedelta(seconds=1))
    rule(destination(), late_after=timedelta(minutes=1))
    Run.objects.create(job="probe", schedule=schedule, queued_at=NOON, **BACKFILL)
    running(schedule=schedule, **BACKFILL)
    clock.shift(timedelta(hours=1))
    watching.scan_runs(timezone.now())
    assert told() == []


def test_a_success_for_a_slot_of_the_past_does_not_break_the_silence_of_a_schedule(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    monkeypatch.setattr(Probe, "success_within", timedelta(days=1))
    schedule = hourly()
    SchedulePolicy.objects.update(anchor=NOON)
    rule(destination())
    clock.shift(timedelta(hours=20))
    succeed(schedule=schedule, **BACKFILL)
    clock.shift(timedelta(hours=4))
    watching.scan_schedules(timezone.now())
    assert told() == ["silent"]


def failed_backfill(schedule: PeriodicTask, failed: int = 3, **values: Any) -> Backfill:
    backfill = Backfill.objects.create(
        schedule=schedule, schedule_name="hourly", job="probe", since=NOON, until=NOON, **values
    )
    run = fail(schedule=schedule, schedule_name="hourly", **BACKFILL)
    recording.backfill_failed(backfill, NOON, run_id=run.pk, failed=failed, total=365)
    return backfill


def test_the_message_about_a_backfill_says_how_many_runs_failed(schedule: PeriodicTask) -> None:
    rule(destination())
    backfill = failed_backfill(schedule)
    alert = Alert.objects.get()
    headline = f"hourly did not succeed in 3 of 365 runs of backfill {backfill.pk}"
    assert message.headline(alert) == headline
    assert message.compose([alert]).subject == f"{headline}: RuntimeError: boom"
    assert AlertDelivery.objects.count() == 1


def test_it_is_sent_once_by_each_rule_that_is_about_failures(schedule: PeriodicTask) -> None:
    rule(destination(), kinds=["missed"])
    rule(destination("many"), name="many", after_failures=4)
    failed_backfill(schedule)
    assert told() == []
    rule(destination("each"), name="each", every_failure=True)
    backfill = failed_backfill(schedule, ended_at=NOON)
    recording.backfill_failed(backfill, NOON, run_id=None, failed=3, total=365)
    assert told() == ["failed"]
