"""Alerts are recorded as runs end, by the rules."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.alerts import default_rule, recording, watching
from jobledger.alerts.deciding import Saying
from jobledger.alerts.rules import RuleBook
from jobledger.jobs.declaration import AlertKind, Alerts, Frequency
from jobledger.models import (
    Alert,
    AlertDelivery,
    AlertDestination,
    AlertRule,
    AlertState,
    Reason,
    Run,
    SchedulePolicy,
    Status,
    Trigger,
    Why,
)
from jobledger.runs import attempts, dispatch, overlap
from jobledger.runs.publishing import publisher
from jobledger.schedules.due import ledger
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.broker import Broker
from tests.unit.jobledger.alerts.builders import (
    CANCELLED,
    CRASH,
    EVERYTHING,
    LOST,
    TIMED_OUT,
    destination,
    end,
    fail,
    rule,
    running,
    succeed,
    told,
)
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by

pytestmark = pytest.mark.django_db


def test_a_failure_is_told_to_each_destination_of_the_rule() -> None:
    rule(destination("a"), destination("b"), destination("off", enabled=False))
    run = fail(schedule_name="nightly")
    alert = Alert.objects.get()
    assert (alert.kind, alert.job, alert.run_id, alert.schedule_name) == (
        "failed",
        "probe",
        run.pk,
        "nightly",
    )
    assert sorted(alert.deliveries.values_list("destination_name", flat=True)) == ["a", "b"]


@pytest.mark.parametrize(("outcome", "kind"), [(LOST, "lost"), (TIMED_OUT, "timed_out"), (CRASH, "failed")])
def test_every_kind_of_failure_is_told(outcome: Any, kind: str) -> None:
    rule(destination())
    end(outcome)
    assert told() == [kind]


def test_the_end_of_a_run_and_its_alert_are_one_transaction() -> None:
    rule(destination())
    run = running()
    with transaction.atomic():
        attempts.end(run, CRASH)
        transaction.set_rollback(True)
    run.refresh_from_db()
    assert (run.status, told()) == ("running", [])


def test_a_success_after_a_failure_is_a_recovery() -> None:
    rule(destination())
    fail()
    fail()
    succeed()
    assert told() == ["failed", "recovered"]
    assert Alert.objects.get(kind="recovered").details["failures"] == 2


def test_a_job_and_each_of_its_schedules_are_watched_separately() -> None:
    rule(destination())
    schedule = hourly()
    fail(schedule=schedule)
    succeed()
    assert told() == ["failed"]
    fail()
    assert told() == ["failed", "failed"]


def test_a_run_that_is_retried_is_not_told() -> None:
    rule(destination())
    end(CRASH, job="restarting")
    assert told() == []


def test_a_cancel_is_told_only_to_those_who_ask() -> None:
    rule(destination())
    end(CANCELLED)
    assert told() == []
    rule(destination("ann"), name="curious", kinds=EVERYTHING)
    end(CANCELLED)
    assert told() == ["cancelled"]


def test_a_cancelled_queued_run_is_told_to_those_who_ask() -> None:
    rule(destination(), kinds=EVERYTHING)
    run = Run.objects.create(job="probe", trigger=Trigger.ADMIN)
    overlap.request_cancel(run, Why.of(Reason.USER, user="ann"), timezone.now())
    assert told() == ["cancelled"]


def test_the_time_of_an_alert_is_that_of_the_event_and_not_of_its_slot() -> None:
    rule(destination(), kinds=EVERYTHING)
    now = timezone.now()
    slot = now - timedelta(hours=5)
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, scheduled_for=slot, queued_at=slot)
    overlap.request_cancel(run, Why.of(Reason.USER, user="ann"), now)
    assert Alert.objects.get().time == now


def test_a_skipped_overlap_is_told_only_to_those_who_ask() -> None:
    running(concurrency_key="probe")
    waiting = [Run.objects.create(job="probe", trigger=Trigger.SCHEDULE) for _ in range(2)]
    rule(destination())
    overlap.start(waiting[0], overlap.guard_of(waiting[0]), timezone.now())
    assert told() == []
    rule(destination("ann"), name="curious", kinds=EVERYTHING)
    overlap.start(waiting[1], overlap.guard_of(waiting[1]), timezone.now())
    assert told() == ["skipped"]


@pytest.mark.parametrize("trigger", [Trigger.CLI, Trigger.JOB])
def test_what_a_caller_sees_is_told_only_to_those_who_ask(trigger: Trigger) -> None:
    rule(destination())
    fail(trigger=trigger)
    assert told() == []
    rule(destination("ann"), name="curious", include_attended=True)
    fail(trigger=trigger)
    assert told() == ["failed"]


def test_a_job_skipped_on_the_command_line_is_told_to_those_who_ask() -> None:
    rule(destination(), kinds=EVERYTHING, include_attended=True)
    request = dispatch.RunRequest(job="probe", trigger=Trigger.CLI)
    dispatch.skip(request, why=Why.of(Reason.OVERLAP), exit_code=75)
    assert told() == ["skipped"]


def test_a_run_whose_message_cannot_be_created_is_told(broker: Broker) -> None:
    rule(destination())
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, routing={"priority": "high", "queue": 5})
    publisher.publish([run])
    assert (Run.objects.get().status, told()) == ("failed", ["failed"])


def test_an_expired_run_is_told_as_missed() -> None:
    rule(destination())
    now = timezone.now()
    Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, start_before=now)
    assert ledger.expire(now) == 1
    assert told() == ["missed"]


def missed(schedule: Any, count: int, reason: Reason = Reason.LATE) -> list[Run]:
    slot = datetime(2026, 3, 1, tzinfo=UTC)
    return [
        Run(
            job="probe",
            trigger=Trigger.SCHEDULE,
            schedule=schedule,
            schedule_name=schedule.name,
            status=Status.MISSED,
            scheduled_for=slot + timedelta(minutes=minute),
            **Why.of(reason).columns,
        )
        for minute in range(count)
    ]


def test_many_missed_runs_of_a_schedule_are_one_alert() -> None:
    rule(destination(), every_failure=True)
    runs = Run.objects.bulk_create(missed(hourly(), 500))
    recording.runs_ended(runs, timezone.now())
    alert = Alert.objects.get()
    assert (alert.kind, alert.details["count"], alert.run_id) == ("missed", 500, runs[-1].pk)


def test_a_missed_run_that_a_later_one_covers_is_not_told() -> None:
    rule(destination())
    recording.runs_ended(missed(hourly(), 5, Reason.COALESCED), timezone.now())
    assert told() == []


def test_what_a_calendar_leaves_out_is_not_told() -> None:
    rule(destination(), kinds=EVERYTHING)
    schedule = limited_by(hourly(), "2026-03-02")
    ledger.sync([schedule.pk], NOON - timedelta(minutes=1))
    ledger.record_due(NOON + timedelta(days=1))
    assert Run.objects.filter(status="skipped", reason="left_out").exists()
    assert told() == []


@pytest.mark.parametrize(("misfire", "expected"), [("once", []), ("skip", ["missed"]), ("all", ["missed"])])
def test_runs_that_give_way_to_newer_ones_are_told_once_unless_those_stand_for_them(
    misfire: str, expected: list[str]
) -> None:
    rule(destination(), kinds=EVERYTHING)
    hourly(handled_until=NOON - timedelta(minutes=1))
    SchedulePolicy.objects.update(misfire=misfire, catch_up_limit=1)
    for now in (NOON + timedelta(hours=hour) for hour in range(6)):
        ledger.expire(now)
        ledger.record_due(now)
    assert told() == expected


def test_slots_that_beat_was_too_late_for_are_told_as_it_records_them() -> None:
    rule(destination())
    schedule = hourly(handled_until=NOON - timedelta(hours=5, minutes=30))
    SchedulePolicy.objects.filter(schedule=schedule).update(misfire="skip")
    ledger.record_due(NOON + timedelta(minutes=30))
    alert = Alert.objects.get()
    assert (alert.kind, alert.details["count"]) == ("missed", 6)


def test_recording_the_same_event_twice_makes_one_alert_and_one_delivery() -> None:
    to = destination()
    made = rule(to)
    run, now = running(), timezone.now()
    event = recording._event(run, Status.FAILED, now)
    found = RuleBook.load().rules_of("probe", None)[0]
    for _ in range(2):
        recording.write([(found, event, Saying(kind=AlertKind.FAILED))], now)
    assert (Alert.objects.count(), AlertDelivery.objects.count()) == (1, 1)
    assert made.name == Alert.objects.get().rule_name


def test_a_mistake_in_an_alert_does_not_keep_a_run_from_ending(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rule(destination())
    monkeypatch.setattr(recording, "write", lambda *args: 1 / 0)
    assert fail().status == "failed"
    assert "Could not record whom to tell" in caplog.text


def test_an_outage_while_an_alert_is_recorded_is_an_outage_of_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*args: object) -> None:
        raise OperationalError("the database system is shutting down")

    rule(destination())
    monkeypatch.setattr(recording, "write", fails)
    with pytest.raises(OperationalError):
        fail()


def test_a_steady_success_writes_nothing_and_reads_little() -> None:
    rule(destination())
    run = running()
    with CaptureQueriesContext(connection) as queries:
        recording.run_ended(run, Status.SUCCEEDED, timezone.now())
    kinds = [each["sql"].split()[0] for each in queries]
    assert kinds == ["SAVEPOINT", "SELECT", "SELECT", "SELECT", "RELEASE"]


def test_after_enough_successes_nothing_is_remembered_in_the_database() -> None:
    rule(destination())
    fail()
    assert AlertState.objects.count() == 1
    for _ in range(21):
        succeed()
    assert AlertState.objects.count() == 0


@pytest.mark.django_db(transaction=True)
def test_a_run_ends_and_is_told_even_if_its_schedule_was_deleted_meanwhile() -> None:
    rule(destination())
    schedule = hourly()
    SchedulePolicy.objects.update(ping_url="http://127.0.0.1:1/")
    run = running(schedule=schedule, schedule_name="nightly")
    PeriodicTask.objects.filter(pk=schedule.pk).delete()
    assert attempts.end(run, CRASH)
    run.refresh_from_db()
    assert (run.status, told()) == ("failed", ["failed"])


@pytest.mark.django_db(transaction=True)
def test_a_run_ends_even_if_a_destination_is_deleted_at_that_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    rule(destination())
    load = RuleBook.load

    def load_and_lose() -> RuleBook:
        book = load()
        AlertDestination.objects.all().delete()
        return book

    monkeypatch.setattr(RuleBook, "load", load_and_lose)
    assert fail().status == "failed"


# --- Rules


def test_a_rule_for_a_schedule_replaces_that_of_its_job_and_this_the_general_ones() -> None:
    schedule = hourly()
    general = rule(destination("a"), name="general")
    of_job = rule(destination("b"), name="of the job", job="probe")
    of_schedule = rule(destination("c"), name="of the schedule", schedule=schedule)
    book = RuleBook.load()

    def names(job: str, schedule_id: int | None) -> list[str]:
        return [each.name for each in book.rules_of(job, schedule_id)]

    assert names("lasting", None) == [general.name]
    assert names("probe", None) == [of_job.name]
    assert names("probe", schedule.pk + 1) == [of_job.name]
    assert names("probe", schedule.pk) == [of_schedule.name]


def test_a_rule_without_kinds_silences_a_job() -> None:
    to = destination()
    rule(to)
    rule(to, name="silent", job="probe", kinds=[])
    fail()
    fail(job="lasting")
    assert list(Alert.objects.values_list("job", flat=True)) == ["lasting"]


def test_a_disabled_rule_has_no_effect() -> None:
    rule(destination(), enabled=False)
    fail()
    assert told() == []


@pytest.mark.parametrize("change", ["disabled", "replaced", "without destination"])
def test_a_rule_that_did_not_apply_when_a_run_succeeded_tells_the_next_failure(change: str) -> None:
    to = destination()
    general = rule(to)
    fail()
    if change == "disabled":
        AlertRule.objects.update(enabled=False)
    elif change == "replaced":
        rule(destination("other"), name="of the job", job="probe")
    else:
        AlertDestination.objects.update(enabled=False)
    succeed()
    AlertRule.objects.exclude(pk=general.pk).delete()
    AlertRule.objects.update(enabled=True)
    AlertDestination.objects.update(enabled=True)
    fail()
    assert told() == ["failed", "failed"]


def test_a_rule_that_did_not_apply_for_a_while_does_not_repeat_itself_without_a_success() -> None:
    rule(destination())
    fail()
    AlertRule.objects.update(enabled=False)
    fail()
    succeed(trigger=Trigger.CLI)
    AlertRule.objects.update(enabled=True)
    fail()
    assert told() == ["failed"]


def test_a_job_declares_its_own_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(kinds=[AlertKind.LOST], destinations=["pager"]))
    destination("pager")
    rule(destination("mail"))
    fail()
    end(LOST)
    delivery = AlertDelivery.objects.get()
    assert (delivery.alert.kind, delivery.destination_name) == ("lost", "pager")


@pytest.mark.parametrize("frequency", ["immediately", "weekly"])
def test_a_job_may_declare_the_frequency_as_a_text(
    monkeypatch: pytest.MonkeyPatch, clock: time_machine.Traveller, frequency: str
) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(frequency=frequency))  # type: ignore[arg-type]
    rule(destination())
    fail()
    expected = recording.due_at(Frequency(frequency), timezone.now())
    assert AlertDelivery.objects.get().due_at == expected


def test_a_declared_rule_without_destinations_uses_the_general_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(after_failures=2))
    rule(destination("mail"), kinds=["lost"])
    fail()
    assert told() == []
    fail()
    assert AlertDelivery.objects.get().destination_name == "mail"


@pytest.mark.parametrize("enabled", [None, False])
def test_a_job_whose_destination_cannot_be_used_alerts_the_general_ones(
    monkeypatch: pytest.MonkeyPatch, enabled: bool | None
) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(destinations=["pager"]))
    rule(destination("mail"))
    if enabled is not None:
        destination("pager", enabled=enabled)
    fail()
    assert AlertDelivery.objects.get().destination_name == "mail"


def test_a_rule_in_the_admin_replaces_the_declared_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "alerts", Alerts(kinds=[]))
    rule(destination(), job="probe")
    fail()
    assert told() == ["failed"]


# --- The rule that is there from the start


def test_with_admins_failures_are_mailed_without_further_setup(settings: Settings) -> None:
    settings.ADMINS = [("Ann", "ann@example.com")]
    fail()
    delivery = AlertDelivery.objects.get()
    assert delivery.destination is not None
    assert delivery.destination.mail_addresses == ["ann@example.com"]


def test_with_admins_a_run_that_no_worker_starts_for_an_hour_is_mailed(settings: Settings) -> None:
    settings.ADMINS = [("Ann", "ann@example.com")]
    for minutes in 59, 61:
        queued_at = timezone.now() - timedelta(minutes=minutes)
        Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, queued_at=queued_at)
    watching.scan_runs(timezone.now())
    assert told() == ["late"]


def test_without_admins_nothing_is_recorded(settings: Settings) -> None:
    settings.ADMINS = []
    fail()
    assert (told(), AlertState.objects.count()) == ([], 0)


def test_the_rule_can_be_deleted_for_good() -> None:
    AlertRule.objects.all().delete()
    default_rule.create()
    assert not AlertRule.objects.exists()


def test_the_rule_is_created_once() -> None:
    default_rule.create()
    assert (AlertRule.objects.count(), AlertDestination.objects.count()) == (1, 1)


# --- When it is sent

BERLIN_MONDAY = datetime(2026, 3, 2, 6, 59, tzinfo=UTC)
"""7:59 in Berlin."""


@pytest.mark.parametrize(
    ("frequency", "now", "expected"),
    [
        (Frequency.IMMEDIATELY, BERLIN_MONDAY, BERLIN_MONDAY + timedelta(seconds=30)),
        (Frequency.DAILY, BERLIN_MONDAY, BERLIN_MONDAY + timedelta(minutes=1)),
        (Frequency.DAILY, BERLIN_MONDAY + timedelta(minutes=1), BERLIN_MONDAY + timedelta(days=1, minutes=1)),
        (Frequency.WEEKLY, BERLIN_MONDAY, BERLIN_MONDAY + timedelta(minutes=1)),
        (Frequency.WEEKLY, BERLIN_MONDAY + timedelta(hours=1), BERLIN_MONDAY + timedelta(days=7, minutes=1)),
        # The clocks change on 29 March.
        (
            Frequency.DAILY,
            datetime(2026, 3, 28, 12, tzinfo=UTC),
            datetime(2026, 3, 29, 6, tzinfo=UTC),
        ),
    ],
)
def test_a_digest_is_sent_at_eight_in_the_morning(
    settings: Settings, frequency: Frequency, now: datetime, expected: datetime
) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    assert recording.due_at(frequency, now) == expected


def test_a_rule_with_invalid_values_keeps_no_other_from_being_told() -> None:
    odd = rule(destination("odd"), name="odd", frequency="hourly", late_after=timedelta(days=-4_000_000))
    AlertRule.objects.filter(pk=odd.pk).update(kinds={"failed": True})
    rule(destination())
    fail()
    assert told() == ["failed"]
    assert AlertDelivery.objects.get().destination_name == "team"


def test_an_alert_whose_frequency_is_unknown_is_sent_at_once() -> None:
    rule(destination(), frequency="hourly")
    fail()
    assert AlertDelivery.objects.get().due_at <= timezone.now() + timedelta(minutes=1)
