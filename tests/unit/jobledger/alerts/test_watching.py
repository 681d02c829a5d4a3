"""Runs that wait or take too long, and schedules without a success, are noticed once."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.alerts import watching
from jobledger.jobs.declaration import AlertKind, Alerts
from jobledger.models import Alert, AlertRule, Pause, Run, SchedulePolicy, Status, Trigger
from jobledger.schedules.due import ledger
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.builders import NOON
from tests.unit.jobledger.alerts.builders import destination, rule, running, succeed, told
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]


def queued(minutes_ago: float, **values: Any) -> Run:
    at = timezone.now() - timedelta(minutes=minutes_ago)
    return Run.objects.create(**{"job": "probe", "trigger": Trigger.SCHEDULE, "queued_at": at, **values})


def plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
        return "\n".join(str(row[3]) for row in cursor.fetchall())


def scan() -> list[str]:
    watching.scan_runs(timezone.now())
    watching.scan_schedules(timezone.now())
    return told()


# --- Late


def test_a_run_that_is_queued_for_longer_than_the_limit_is_late() -> None:
    rule(destination(), late_after=timedelta(minutes=10))
    late = queued(10)
    queued(9)
    assert scan() == ["late"]
    assert Alert.objects.get().run_id == late.pk


def test_a_limit_that_no_run_exceeds_does_not_keep_others_from_being_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(late_after=timedelta.max))
    monkeypatch.setattr(Probe, "expected_duration", timedelta(minutes=1))
    AlertRule.objects.all().delete()
    rule(destination())
    queued(10_000)
    running(started_at=timezone.now() - timedelta(minutes=2))
    assert scan() == ["slow"]


def test_without_a_limit_nothing_is_late() -> None:
    rule(destination())
    queued(10_000)
    assert scan() == []


def test_a_watched_run_is_late_only_for_those_who_ask() -> None:
    rule(destination(), late_after=timedelta(minutes=10))
    queued(10, trigger=Trigger.CLI)
    assert scan() == []
    rule(destination("ann"), name="curious", late_after=timedelta(minutes=10), include_attended=True)
    assert scan() == ["late"]


def test_each_rule_has_its_own_limit() -> None:
    rule(destination("a"), name="a", late_after=timedelta(minutes=5))
    rule(destination("b"), name="b", late_after=timedelta(minutes=20))
    queued(10)
    assert scan() == ["late"]
    assert Alert.objects.get().rule_name == "a"


def test_what_was_noticed_is_told_once(clock: time_machine.Traveller) -> None:
    rule(destination(), late_after=timedelta(minutes=10))
    queued(10)
    for _ in range(3):
        scan()
        clock.shift(60)
    assert told() == ["late"]


@pytest.mark.parametrize("minutes", [[40, 30, 20, 11, 10], [10, 10, 10, 10, 10]])
def test_a_backlog_hides_no_run_that_is_late(monkeypatch: pytest.MonkeyPatch, minutes: list[int]) -> None:
    monkeypatch.setattr(watching, "BATCH", 2)
    # The backlog is not late by its job's own rule.
    monkeypatch.setattr(Probe, "alerts", Alerts(late_after=timedelta(hours=1)))
    rule(destination(), late_after=timedelta(minutes=10))
    for each in minutes:
        queued(each)
    late = queued(10, job="lasting")
    assert scan() == ["late"]
    assert Alert.objects.get().run_id == late.pk
    queued(10, job="lasting")
    assert scan() == ["late", "late"]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL scans small tables whatever there is")
def test_each_batch_of_a_backlog_is_read_from_where_the_last_one_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "BATCH", 2)
    rule(destination(), late_after=timedelta(minutes=10))
    for minutes in (30, 20, 10):
        queued(minutes)
    with CaptureQueriesContext(connection) as queries:
        assert scan() == ["late", "late", "late"]
    waiting = [each["sql"] for each in queries if "\"status\" = 'queued'" in each["sql"]]
    assert len(waiting) == 2
    assert "queued_at<?)" in plan_of(waiting[0])
    assert "queued_at>? AND queued_at<?)" in plan_of(waiting[1])


def test_a_schedule_whose_runs_supersede_each_other_is_late_once(clock: time_machine.Traveller) -> None:
    """None of them waits for long, but nothing has run."""
    rule(destination(), late_after=timedelta(minutes=10))
    hourly(minute="*/5", handled_until=NOON - timedelta(minutes=1))
    for _ in range(6):
        ledger.record_due(timezone.now())
        scan()
        clock.shift(timedelta(minutes=5))
    assert told() == ["late"]
    alert = Alert.objects.get()
    assert alert.run == Run.objects.get(status=Status.QUEUED)
    assert alert.details["waited"] == 600


def test_a_retry_is_not_late_while_it_waits_for_its_backoff(clock: time_machine.Traveller) -> None:
    rule(destination(), late_after=timedelta(minutes=10))
    queued(60, start_after=timezone.now() + timedelta(minutes=5), attempt=2)
    assert scan() == []
    clock.shift(timedelta(minutes=14))
    assert scan() == []
    clock.shift(timedelta(minutes=1))
    assert scan() == ["late"]


def test_a_job_declares_its_own_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(late_after=timedelta(minutes=1)))
    rule(destination())
    queued(2)
    queued(2, job="lasting")
    assert scan() == ["late"]


# --- Slow


def with_usual_duration(seconds: int, count: int = 10) -> None:
    for _ in range(count):
        begin = timezone.now() - timedelta(hours=1)
        Run.objects.create(
            job="probe",
            trigger=Trigger.SCHEDULE,
            status=Status.SUCCEEDED,
            started_at=begin,
            finished_at=begin + timedelta(seconds=seconds),
        )


def started(minutes_ago: float, **values: Any) -> Run:
    return running(started_at=timezone.now() - timedelta(minutes=minutes_ago), **values)


def test_a_run_that_takes_three_times_as_long_as_usual_is_slow() -> None:
    with_usual_duration(seconds=200)
    rule(destination())
    started(9.9)
    assert scan() == []
    slow = started(10.1)
    assert scan() == ["slow"]
    assert (Alert.objects.get().run_id, Alert.objects.get().details["limit"]) == (slow.pk, 600)


def test_a_job_that_usually_takes_a_second_is_not_slow_after_four() -> None:
    with_usual_duration(seconds=1)
    rule(destination())
    started(4)
    assert scan() == []
    started(6)
    assert scan() == ["slow"]


def test_without_enough_successes_nobody_knows_what_is_usual() -> None:
    with_usual_duration(seconds=1, count=9)
    rule(destination())
    started(1000)
    assert scan() == []


def test_a_declared_duration_replaces_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "expected_duration", timedelta(seconds=30))
    with_usual_duration(seconds=3600)
    rule(destination())
    started(0.4)
    assert scan() == []
    started(0.6)
    assert scan() == ["slow"]


def test_a_run_that_ended_between_two_scans_was_slow_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "expected_duration", timedelta(seconds=3))
    rule(destination())
    succeed()
    assert told() == ["slow"]


def test_a_run_is_told_to_be_slow_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobledger.runs import attempts
    from jobledger.runs.outcome import SUCCESS

    monkeypatch.setattr(Probe, "expected_duration", timedelta(seconds=3))
    rule(destination())
    run = started(1)
    scan()
    attempts.end(run, SUCCESS)
    assert told() == ["slow"]


def test_the_destinations_that_a_job_names_are_read_once_for_all_its_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(destinations=["team"]))
    rule(destination("team"))
    counts = set[int]()
    for _ in range(2):
        started(0.1)
        with CaptureQueriesContext(connection) as queries:
            scan()
        counts.add(len(queries))
    assert len(counts) == 1


# --- Silent


def declared(monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller) -> PeriodicTask:
    """A schedule of a job that should succeed within a day; created now."""
    monkeypatch.setattr(Probe, "success_within", timedelta(days=1))
    schedule = hourly()
    SchedulePolicy.objects.filter(schedule=schedule).update(anchor=NOON)
    rule(destination())
    return schedule


def test_a_schedule_that_never_succeeds_is_reported(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    schedule = declared(monkeypatch, clock)
    clock.shift(timedelta(days=1, seconds=-1))
    assert scan() == []
    clock.shift(1)
    assert scan() == ["silent"]
    clock.shift(timedelta(days=3))
    assert scan() == ["silent"]
    assert Alert.objects.get().schedule_id == schedule.pk


def test_it_counts_from_the_last_success(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    schedule = declared(monkeypatch, clock)
    clock.shift(timedelta(hours=20))
    succeed(schedule=schedule)
    clock.shift(timedelta(hours=23))
    assert scan() == []
    clock.shift(timedelta(hours=1))
    assert scan() == ["silent"]


def test_a_success_after_silence_is_a_recovery(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    schedule = declared(monkeypatch, clock)
    clock.shift(timedelta(days=2))
    scan()
    clock.shift(1)
    succeed(schedule=schedule)
    assert told() == ["silent", "recovered"]
    since = Alert.objects.get(kind=AlertKind.RECOVERED).details["since"]
    assert datetime.fromisoformat(since) == NOON


def test_a_new_silence_is_reported_again(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    schedule = declared(monkeypatch, clock)
    clock.shift(timedelta(days=2))
    scan()
    succeed(schedule=schedule)
    clock.shift(timedelta(days=2))
    assert scan().count("silent") == 2


def test_a_silence_after_a_schedule_was_enabled_again_is_a_new_one(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    schedule = declared(monkeypatch, clock)
    for enabled, silences in [(True, 1), (False, 1), (True, 2)]:
        schedule.enabled = enabled
        schedule.save()
        for _ in range(2):
            clock.shift(timedelta(days=2))
            assert scan() == ["silent"] * silences


def test_a_paused_schedule_is_not_silent(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    schedule = declared(monkeypatch, clock)
    pause = Pause.objects.create(schedule=schedule, since=NOON)
    clock.shift(timedelta(days=2))
    assert scan() == []
    Pause.objects.filter(pk=pause.pk).update(until=timezone.now())
    assert scan() == []
    clock.shift(timedelta(days=1))
    assert scan() == ["silent"]


@pytest.mark.parametrize("of_service", [False, True])
def test_a_short_daily_pause_neither_hides_nor_repeats_a_silence(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller, of_service: bool
) -> None:
    schedule = declared(monkeypatch, clock)
    for day in range(5):
        begin = NOON + timedelta(days=day, hours=10)
        Pause.objects.create(
            schedule=None if of_service else schedule, since=begin, until=begin + timedelta(minutes=30)
        )
    clock.shift(timedelta(days=1, minutes=29))
    assert scan() == []
    clock.shift(timedelta(minutes=1))
    assert scan() == ["silent"]
    for _ in range(5):
        clock.shift(timedelta(days=1))
        assert scan() == ["silent"]


def test_pauses_that_overlap_count_once(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    schedule = declared(monkeypatch, clock)
    hour = timedelta(hours=1)
    Pause.objects.create(schedule=schedule, since=NOON - hour, until=NOON + 4 * hour)
    Pause.objects.create(since=NOON + 2 * hour, until=NOON + 3 * hour)
    Pause.objects.create(since=NOON + 3 * hour, until=NOON + 6 * hour)
    Pause.objects.create(schedule=schedule, since=NOON + 100 * hour)
    clock.shift(30 * hour - timedelta(seconds=1))
    assert scan() == []
    clock.shift(1)
    assert scan() == ["silent"]


def test_no_schedule_is_silent_while_the_service_is_paused(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    declared(monkeypatch, clock)
    Pause.objects.create(since=NOON)
    clock.shift(timedelta(days=2))
    assert scan() == []


def test_the_schedule_of_a_job_that_is_exempt_from_pauses_is_silent_all_the_same(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    schedule = declared(monkeypatch, clock)
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    Pause.objects.create(since=NOON)
    Pause.objects.create(schedule=schedule, since=NOON, until=NOON + timedelta(hours=1))
    clock.shift(timedelta(days=1))
    assert scan() == []
    clock.shift(timedelta(hours=1))
    assert scan() == ["silent"]


def test_a_disabled_schedule_is_not_silent(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller
) -> None:
    declared(monkeypatch, clock)
    PeriodicTask.objects.update(enabled=False)
    clock.shift(timedelta(days=2))
    assert scan() == []


def test_a_rule_may_set_the_time_for_jobs_that_declare_none(clock: time_machine.Traveller) -> None:
    schedule = hourly()
    SchedulePolicy.objects.filter(schedule=schedule).update(anchor=NOON)
    rule(destination(), success_within=timedelta(hours=2))
    clock.shift(timedelta(hours=2))
    assert scan() == ["silent"]
