"""On request, a schedule has a cron monitor that hears of starts and ends."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_django import Settings

from jobledger.alerts import recording
from jobledger.models import Run, SchedulePolicy, SentryReport, Status, Trigger
from jobledger.runs import attempts
from jobledger.runs.outcome import SUCCESS, Outcome
from jobledger.sentry import events, reports, sending
from tests.unit.builders import override
from tests.unit.jobledger.alerts.builders import CANCELLED, CRASH, LOST, TIMED_OUT, end, running, succeed
from tests.unit.jobledger.schedules.builders import hourly
from tests.unit.jobledger.sentry.receiver import Sentry

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def monitored(sentry: Sentry, settings: Settings) -> None:
    override(settings, SENTRY_MONITORS=["night*"])


def send_all() -> None:
    now = timezone.now()
    reports.note_starts(now)
    sending.send(sending.due(now))


def statuses(sentry: Sentry) -> list[str]:
    return [check_in["status"] for check_in in sentry.check_ins]


def test_a_run_checks_in_when_it_starts_and_when_it_has_succeeded(sentry: Sentry) -> None:
    schedule = hourly("nightly")
    run = running(schedule=schedule, schedule_name="nightly")
    send_all()
    send_all()
    assert statuses(sentry) == ["in_progress"]
    attempts.end(run, SUCCESS)
    send_all()
    assert statuses(sentry) == ["in_progress", "ok"]
    assert {check_in["check_in_id"] for check_in in sentry.check_ins} == {events.id_of(run)}
    assert {check_in["monitor_slug"] for check_in in sentry.check_ins} == {f"nightly-{schedule.pk}"}
    assert sentry.check_ins[1]["duration"] == 5
    assert sentry.check_ins[0]["environment"] == "staging"
    assert sentry.events == []


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(CRASH, "error"), (TIMED_OUT, "error"), (LOST, "error"), (CANCELLED, "ok")],
    ids=["failed", "timed out", "lost", "cancelled"],
)
def test_how_a_run_has_ended(sentry: Sentry, outcome: Outcome, status: str) -> None:
    end(outcome, schedule=hourly("nightly"), schedule_name="nightly")
    send_all()
    assert statuses(sentry) == [status]


@pytest.mark.parametrize(
    ("status", "expected"), [(Status.MISSED, "error"), (Status.EXPIRED, "error"), (Status.SKIPPED, "ok")]
)
def test_what_has_become_of_a_run_that_was_not_executed(
    sentry: Sentry, status: Status, expected: str
) -> None:
    run = Run.objects.create(
        job="probe",
        trigger=Trigger.SCHEDULE,
        status=status,
        schedule=hourly("nightly"),
        schedule_name="nightly",
    )
    recording.runs_ended([run], timezone.now())
    send_all()
    assert statuses(sentry) == [expected]


def test_a_check_in_creates_the_monitor_of_a_crontab(sentry: Sentry) -> None:
    schedule = hourly("nightly")
    SchedulePolicy.objects.filter(schedule=schedule).update(jitter=timedelta(minutes=2))
    succeed(schedule=schedule, schedule_name="nightly")
    send_all()
    assert sentry.check_ins[0]["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "0 * * * *"},
        "timezone": "UTC",
        "checkin_margin": 7,
        "max_runtime": 1440,
    }


@pytest.mark.parametrize(
    ("every", "period", "expected"),
    [
        (2, "days", {"type": "interval", "value": 2, "unit": "day"}),
        (90, "minutes", {"type": "interval", "value": 90, "unit": "minute"}),
        (300, "seconds", {"type": "interval", "value": 5, "unit": "minute"}),
        (90, "seconds", None),
        (10, "seconds", None),
    ],
)
def test_only_intervals_of_whole_minutes_have_a_monitor(
    sentry: Sentry, every: int, period: str, expected: object
) -> None:
    interval = IntervalSchedule.objects.create(every=every, period=period)
    schedule = PeriodicTask.objects.create(name="nightly", task="probes.probe", interval=interval)
    succeed(schedule=schedule, schedule_name="nightly")
    send_all()
    found = [check_in["monitor_config"]["schedule"] for check_in in sentry.check_ins]
    assert found == ([expected] if expected else [])


def test_a_job_can_be_named_instead_of_a_schedule(sentry: Sentry, settings: Settings) -> None:
    override(settings, SENTRY_MONITORS=["probe"])
    succeed(schedule=hourly("any"), schedule_name="any")
    send_all()
    assert statuses(sentry) == ["ok"]


def test_others_have_no_monitor(sentry: Sentry) -> None:
    succeed(schedule=hourly("daily"), schedule_name="daily")
    running(schedule=hourly("weekly"), schedule_name="weekly")
    succeed(schedule_name="nightly")
    succeed(schedule=hourly("nightly"), schedule_name="nightly", trigger=Trigger.BACKFILL)
    send_all()
    assert not SentryReport.objects.exists()


def test_a_late_check_in_is_given_up(sentry: Sentry, clock: time_machine.Traveller) -> None:
    succeed(schedule=hourly("nightly"), schedule_name="nightly")
    sentry.status = 503
    send_all()
    clock.shift(timedelta(minutes=11))
    sending.tidy(timezone.now())
    sentry.status = 200
    send_all()
    assert statuses(sentry) == []


def test_a_start_is_never_reported_after_the_end(sentry: Sentry, clock: time_machine.Traveller) -> None:
    run = running(schedule=hourly("nightly"), schedule_name="nightly")
    sentry.status = 503
    send_all()
    sentry.status = 200
    attempts.end(run, SUCCESS)
    send_all()
    clock.shift(60)
    send_all()
    assert statuses(sentry) == ["ok"]
