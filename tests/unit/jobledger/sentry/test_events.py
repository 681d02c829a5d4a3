"""Each failed run is one event, whatever has ended it, without secrets."""

import logging
import sys
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import UUID

import pytest
import sentry_sdk
import time_machine
from django.core.management import CommandError
from django.utils import timezone
from pytest_django import Settings

from jobledger.alerts.sending.background import Background
from jobledger.jobs import secrets
from jobledger.models import Reason, Run, SentryReport, Status, Trigger, Why
from jobledger.runs import attempts
from jobledger.runs.execution import runner
from jobledger.runs.lease import rescue
from jobledger.runs.outcome import SUCCESS, Outcome, outcome_of
from jobledger.sentry import doubles, events, reports, sending
from jobledger.tracing import context
from tests.ports import free_port
from tests.receivers import web_server
from tests.unit.builders import override
from tests.unit.jobledger.alerts.builders import CANCELLED, CRASH, LOST, TIMED_OUT, end, fail, running
from tests.unit.jobledger.sentry.receiver import Sentry, sentry_server

pytestmark = pytest.mark.django_db

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
OUT_OF_MEMORY = Outcome(status=Status.FAILED, why=Why.of(Reason.OUT_OF_MEMORY), exit_code=137)


def send_all() -> None:
    now = timezone.now()
    reports.note_starts(now)
    sending.send(sending.due(now))


def test_a_failed_run_is_one_event_with_its_facts(sentry: Sentry) -> None:
    run = fail(schedule_name="nightly", trace_context=TRACE)
    send_all()
    send_all()
    (event,) = sentry.events
    assert event["event_id"] == events.id_of(run)
    assert event["tags"] == {
        "job": "probe",
        "run_id": str(run.pk),
        "schedule": "nightly",
        "trigger": "schedule",
        "attempt": "1",
        "status": "failed",
        "reason": "exception",
        "exit_code": "1",
    }
    assert (event["release"], event["environment"], event["level"]) == ("1.2", "staging", "error")
    assert event["contexts"]["trace"]["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert sentry.keys[0].startswith("/api/7/envelope/ Sentry sentry_key=key")


@pytest.mark.parametrize("differs", ["SECRET_KEY", "SENTRY_ENVIRONMENT", "ENVIRONMENT"])
def test_services_that_share_a_project_have_other_ids_for_the_same_slot(
    settings: Settings, differs: str
) -> None:
    run = Run(pk=UUID(int=1))
    before = events.id_of(run)
    assert before == events.id_of(Run(pk=UUID(int=1))) != events.id_of(Run(pk=UUID(int=2)))
    if differs == "SECRET_KEY":
        settings.SECRET_KEY = "of another one"
    else:
        override(settings, **{differs: "staging"})
    assert len(before) == len(events.id_of(run)) == 32
    assert before != events.id_of(run)


def test_an_event_names_the_span_of_the_attempt_that_has_failed(sentry: Sentry) -> None:
    run = running(attempt=9, job="restarting")
    first, last = (context.span_id_of_attempt(run.pk, number) for number in (1, 9))
    run.trace_context = {"traceparent": f"00-0af7651916cd43dd8448eb211c80319c-{first}-01"}
    run.save()
    attempts.end(run, CRASH)
    send_all()
    assert sentry.events[0]["contexts"]["trace"]["span_id"] == last


def test_an_event_has_the_stack_of_the_error_and_of_its_causes(sentry: Sentry) -> None:
    def broken() -> None:
        try:
            raise KeyError("key")
        except KeyError as error:
            raise RuntimeError("first: second\nand more") from error

    try:
        broken()
    except RuntimeError as found:
        end(outcome_of(found))
    send_all()
    cause, error = sentry.events[0]["exception"]["values"]
    assert (cause["type"], cause["value"]) == ("KeyError", "'key'")
    assert (error["type"], error["value"]) == ("RuntimeError", "first: second\nand more")
    frame = error["stacktrace"]["frames"][-1]
    assert (frame["function"], frame["in_app"]) == ("broken", True)
    assert frame["context_line"].startswith("raise RuntimeError")
    assert frame["filename"].endswith("test_events.py")


@pytest.mark.parametrize(
    ("outcome", "name"),
    [(LOST, "LostProcess"), (TIMED_OUT, "TimeLimit"), (OUT_OF_MEMORY, "OutOfMemory")],
    ids=["lost", "timed out", "memory"],
)
def test_what_no_exception_announces_is_an_event(sentry: Sentry, outcome: Outcome, name: str) -> None:
    end(outcome)
    send_all()
    (error,) = sentry.events[0]["exception"]["values"]
    assert error["type"] == name
    assert error["value"]


def test_a_rescued_run_is_an_event(sentry: Sentry) -> None:
    rescue.give_up(running(), Why.of(Reason.LOST_PROCESS, worker="w"))
    send_all()
    assert len(sentry.events) == 1


@pytest.mark.parametrize("outcome", [CANCELLED, SUCCESS], ids=["cancelled", "succeeded"])
def test_no_other_end_is_an_event(sentry: Sentry, outcome: Outcome) -> None:
    end(outcome)
    assert not SentryReport.objects.exists()


def test_a_run_that_is_retried_is_no_event_until_it_has_failed_for_good(sentry: Sentry) -> None:
    run = fail(job="restarting")
    send_all()
    assert (run.status, sentry.events) == ("queued", [])
    Run.objects.update(status=Status.RUNNING, attempt=9)
    run.refresh_from_db()
    attempts.end(run, outcome_of(RuntimeError("at last")))
    send_all()
    assert [event["tags"]["attempt"] for event in sentry.events] == ["9"]


def test_a_command_error_is_an_event_only_on_request(sentry: Sentry, settings: Settings) -> None:
    end(outcome_of(CommandError("no orders")))
    send_all()
    assert sentry.events == []
    override(settings, SENTRY_COMMAND_ERRORS=True)
    end(outcome_of(CommandError("no orders")))
    send_all()
    (error,) = sentry.events[0]["exception"]["values"]
    assert (error["type"], error["value"]) == ("CommandError", "no orders")


def test_a_failed_run_of_a_backfill_is_an_event(sentry: Sentry) -> None:
    fail(trigger=Trigger.BACKFILL)
    send_all()
    assert len(sentry.events) == 1


def test_an_event_has_no_secrets(sentry: Sentry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_dests_of", lambda job: {"warn": True})
    options = {"crash": "refused s3cr3t-value", "warn": "s3cr3t-value"}
    run = Run.objects.create(job="probe", trigger=Trigger.ADMIN, options=options)
    runner.execute(run.pk, worker="w")
    Run.objects.update(options={"warn": "s3cr3t-value"})
    send_all()
    text = str(sentry.events[0])
    assert "refused ********" in text
    assert "s3cr3t" not in text


def test_the_causes_of_an_error_have_no_secrets_either(sentry: Sentry) -> None:
    def broken() -> None:
        try:
            raise ConnectionError("refused s3cr3t-value")
        except ConnectionError as error:
            raise RuntimeError("no orders") from error

    try:
        broken()
    except RuntimeError as found:
        end(outcome_of(found), options={"api_token": "s3cr3t-value"})
    send_all()
    cause, error = sentry.events[0]["exception"]["values"]
    assert (cause["value"], error["value"]) == ("refused ********", "no orders")
    # The line of the code itself has it, too.
    assert "s3cr3t" not in str(sentry.events[0])


def test_without_a_dsn_nothing_is_recorded() -> None:
    fail()
    send_all()
    assert not SentryReport.objects.exists()


def test_a_server_that_is_down_gets_the_event_later(
    settings: Settings, clock: time_machine.Traveller
) -> None:
    port = free_port()
    override(settings, SENTRY_DSN=f"http://key@127.0.0.1:{port}/7")
    fail()
    send_all()
    report = SentryReport.objects.get()
    assert (report.attempts, report.sent_at) == (1, None)
    assert "refused" in report.error
    with sentry_server() as received:
        override(settings, SENTRY_DSN=received.dsn)
        clock.shift(9)
        send_all()
        assert received.events == []
        clock.shift(1)
        send_all()
        assert len(received.events) == 1


def test_a_redirect_accepts_nothing(settings: Settings) -> None:
    with web_server(statuses={"/api": 302}, location="/login") as received:
        override(settings, SENTRY_DSN=f"http://key@127.0.0.1:{received.port}/7")
        fail()
        send_all()
    report = SentryReport.objects.get()
    assert (report.sent_at, report.error) == (None, "HTTP Error 302: Found")
    assert report.due_at is not None


def test_a_server_that_is_down_is_not_asked_for_each_event(sentry: Sentry) -> None:
    sentry.status = 503
    fail()
    fail()
    send_all()
    send_all()
    assert len(sentry.keys) == 1


def test_an_event_that_sentry_never_accepts_holds_up_no_other(sentry: Sentry) -> None:
    fail()
    sentry.status = 413
    send_all()
    sentry.status = 200
    fail()
    send_all()
    assert len(sentry.events) == 1
    assert not SentryReport.objects.filter(due_at__isnull=False).exists()


def test_an_event_is_given_up_like_an_alert(sentry: Sentry, clock: time_machine.Traveller) -> None:
    fail()
    clock.shift(timedelta(hours=23))
    sending.tidy(timezone.now())
    assert len(sending.due(timezone.now())) == 1
    clock.shift(timedelta(hours=2))
    sending.tidy(timezone.now())
    assert sending.due(timezone.now()) == []


def test_two_beats_send_an_event_once(sentry: Sentry) -> None:
    fail()
    due = sending.due(timezone.now())
    sending.send(due)
    sending.send(due)
    assert len(sentry.events) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.one_database
def test_beat_does_not_wait_for_a_server_that_hangs(settings: Settings) -> None:
    release = Event()
    with sentry_server(release=release) as received:
        override(settings, SENTRY_DSN=received.dsn)
        fail()
        background = Background()
        # Not all steps: SQLite in memory refuses a thread that writes while another one does, whatever its
        # timeout, so the reporter would leave the report to a next step, which is not made here.
        background._report(timezone.now())
        assert received.events == []
        release.set()
        background._reporters.join(60)
        assert len(received.events) == 1


def test_without_the_package_the_service_works_and_says_so(
    sentry: Sentry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    sending._client.cache_clear()
    fail()
    send_all()
    sending._client.cache_clear()
    assert "install django-jobledger[sentry]" in caplog.text


class Kept(sentry_sdk.Transport):
    """What the project's own SDK reports."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.events: list[Any] = []

    def capture_envelope(self, envelope: Any) -> None:
        self.events += [event for item in envelope.items if (event := item.get_event())]


def test_the_projects_own_sdk_reports_no_run_a_second_time(sentry: Sentry) -> None:
    from sentry_sdk.integrations.logging import LoggingIntegration

    kept = Kept({"dsn": None})
    client = sentry_sdk.Client(
        dsn=sentry.dsn, transport=kept, default_integrations=False, integrations=[LoggingIntegration()]
    )
    doubles.hook()
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        outcome = outcome_of(error := RuntimeError("boom"))
        end(outcome)
        sentry_sdk.capture_exception(error)
        rescue.give_up(running(), Why.of(Reason.LOST_PROCESS, worker="w"))
        assert kept.events == []
        sentry_sdk.capture_exception(RuntimeError("of the project"))
        logging.getLogger("project").error("of the project")
        assert len(kept.events) == 2
    client.close(timeout=0)


def test_a_traceback_that_cannot_be_read_is_an_event_all_the_same() -> None:
    run = Run(job="probe", status=Status.FAILED, traceback="  + Exception Group Traceback", error="odd")
    (error,) = events.failure(run)["exception"]["values"]
    assert (error["type"], error["value"]) == ("Failed", "odd")
