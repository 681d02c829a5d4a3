"""The health checks: /livez covers the web server, /healthz the database, /readyz the whole service."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.db import DataError, InterfaceError, OperationalError, ProgrammingError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from jobledger import clock, health, views
from jobledger.health import readiness, reading
from jobledger.metrics import views as metrics_views
from jobledger.models import DeadLetter, ProcessKind, Run, ServiceProcess, Trigger
from jobledger.runs.service.code_version import code_version
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from tests.unit.builders import override
from tests.unit.jobledger.alerts.builders import destination

in_thread = reading._in_thread


@pytest.fixture(autouse=True)
def a_broker_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "broker_problems", lambda: iter(()))


@pytest.fixture(autouse=True)
def time_stands_still() -> Iterator[None]:
    with time_machine.travel(timezone.now(), tick=False):
        yield


def running(kind: ProcessKind, **values: Any) -> None:
    now = timezone.now()
    given = {"version": code_version(), "queues": ["celery"], "started_at": now, **values}
    ServiceProcess.objects.create(kind=kind, seen_at=now, **{"name": f"a {kind}", **given})


def failed(found: dict[str, Any]) -> dict[str, str]:
    """The reasons of the checks that failed."""
    return {name: check["reason"] for name, check in found["checks"].items() if not check["ok"]}


def test_a_web_server_that_responds_is_alive_without_asking_the_database(client: Client) -> None:
    response = client.get("/livez")
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db
def test_a_database_that_responds_is_healthy(client: Client) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (200, b"ok\n")
    assert "no-store" in response["Cache-Control"]


def test_a_database_that_does_not_respond_is_503_without_details(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise OperationalError("password authentication failed for user jobs")

    monkeypatch.setattr(connection, "cursor", refuse)
    response = client.get("/healthz")
    assert (response.status_code, response.content) == (503, b"database: OperationalError\n")


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("gone")])
def test_a_page_that_needs_the_database_reports_an_outage(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: HttpRequest) -> None:
        raise error

    monkeypatch.setattr(admin.site, "has_permission", refuse)
    response = Client(raise_request_exception=False).get("/admin/")
    assert (response.status_code, response["Retry-After"]) == (503, "10")
    assert b"The database cannot be used right now" in response.content
    assert b"Nothing was saved" in response.content
    assert b"gone" not in response.content


def test_what_was_sent_may_be_saved_if_the_database_has_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: HttpRequest) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(admin.site, "has_permission", refuse)
    response = Client(raise_request_exception=False).post("/admin/")
    assert response.status_code == 503
    assert b"may be saved, or not" in response.content


def test_any_other_error_is_an_ordinary_500(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(request: HttpRequest) -> None:
        raise DataError("too long")

    monkeypatch.setattr(admin.site, "has_permission", fail)
    assert Client(raise_request_exception=False).get("/admin/").status_code == 500


def test_it_is_read_only(client: Client) -> None:
    assert client.post("/healthz").status_code == 405


@pytest.mark.django_db
def test_with_beat_and_a_worker_it_is_ready(client: Client) -> None:
    running(ProcessKind.BEAT)
    running(ProcessKind.WORKER)
    response = client.get("/readyz")
    assert (response.status_code, response.json()) == (
        200,
        {
            "ready": True,
            "checks": {
                "database": {"ok": True, "reason": "available"},
                "broker": {"ok": True, "reason": "available"},
                "beat": {"ok": True, "reason": "ticked now"},
                "workers": {"ok": True, "reason": "never took a message"},
                "queues": {"ok": True, "reason": "none in use"},
            },
            "problems": [],
        },
    )
    assert "no-store" in response["Cache-Control"]


@pytest.mark.django_db
def test_without_a_worker_it_is_not_ready_and_says_why(client: Client) -> None:
    running(ProcessKind.BEAT)
    response = client.get("/readyz")
    found = response.json()
    assert (response.status_code, found["ready"]) == (503, False)
    assert found["problems"] == [{"part": "workers", "problem": "no worker", "text": "none running"}]
    assert failed(found) == {"workers": "none running; never took a message"}


@pytest.mark.django_db
def test_an_idle_service_stays_ready_however_long_ago_a_message_was_taken(client: Client) -> None:
    running(ProcessKind.BEAT)
    long_ago = timezone.now() - timedelta(hours=9)
    running(ProcessKind.WORKER, capacity=4, busy=0, started_at=long_ago, message_at=long_ago)
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json()["checks"]["workers"] == {"ok": True, "reason": "took a message 9 h ago"}


@pytest.mark.django_db
def test_it_is_not_ready_if_a_run_waits_and_free_workers_take_no_messages(client: Client) -> None:
    running(ProcessKind.BEAT)
    before = timezone.now() - timedelta(minutes=5)
    running(ProcessKind.WORKER, capacity=4, busy=1, started_at=before, message_at=before)
    sent_at = before + timedelta(minutes=2)
    waiting = {"queued_at": before, "publish_after": sent_at + timedelta(minutes=1), "publish_count": 1}
    Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, **waiting)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert failed(response.json()) == {"workers": "taking no messages; took a message 5 min ago"}


@pytest.mark.django_db
def test_it_names_the_queue_that_no_worker_reads(client: Client) -> None:
    running(ProcessKind.BEAT)
    running(ProcessKind.WORKER)
    routing = {"routing": {"queue": "reports"}, "publish_after": timezone.now()}
    Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, **routing)
    assert failed(client.get("/readyz").json()) == {"queues": "no worker reads reports"}


@pytest.mark.django_db
def test_a_beat_that_has_not_ticked_for_long_makes_it_unready(client: Client) -> None:
    running(ProcessKind.BEAT)
    running(ProcessKind.WORKER)
    ServiceProcess.objects.filter(kind=ProcessKind.BEAT).update(seen_at=timezone.now() - timedelta(minutes=1))
    assert failed(client.get("/readyz").json()) == {"beat": "not running; ticked 1 min ago"}


@pytest.mark.django_db
def test_a_wrong_clock_is_named_and_does_not_make_it_unready(client: Client) -> None:
    running(ProcessKind.BEAT, clock_offset=timedelta(minutes=2))
    running(ProcessKind.WORKER)
    response = client.get("/readyz")
    problem = {"part": "database", "problem": "clock offset", "text": "clocks differ"}
    assert (response.status_code, response.json()["problems"]) == (200, [problem])
    assert failed(response.json()) == {}


@pytest.mark.django_db
def test_an_answer_is_reused_for_two_seconds(client: Client, django_assert_num_queries: Any) -> None:
    client.get("/readyz")
    with django_assert_num_queries(0):
        client.get("/readyz")


@pytest.mark.django_db
def test_without_a_worker_the_queues_in_use_are_named_as_unread(client: Client) -> None:
    running(ProcessKind.BEAT)
    for queue in ("reports", "mail"):
        Run.objects.create(
            job="probe", trigger=Trigger.CLI, routing={"queue": queue}, publish_after=timezone.now()
        )
    reasons = failed(client.get("/readyz").json())
    assert reasons["queues"] == "no worker reads mail, reports"


@pytest.mark.django_db
def test_queues_that_are_read_are_fine(client: Client) -> None:
    running(ProcessKind.BEAT)
    running(ProcessKind.WORKER)
    Run.objects.create(job="probe", trigger=Trigger.CLI, publish_after=timezone.now())
    check = {"ok": True, "reason": "all in use are read"}
    assert client.get("/readyz").json()["checks"]["queues"] == check


@pytest.mark.django_db
def test_it_reveals_no_name_but_those_of_queues(client: Client) -> None:
    """Everything is wrong at the same time."""
    long_ago = timezone.now() - timedelta(days=2)
    destination("ops@example.com", failures=3, error="secret")
    pausing.pause(None, Terms(until=None, reason="secret", username="secret"), now=timezone.now())
    running(ProcessKind.BEAT, version="secret", clock_offset=timedelta(minutes=2))
    running(ProcessKind.WORKER, version="secret", capacity=1)
    running(ProcessKind.WORKER, name="secret", capacity=0, busy=0)
    for routing in ({"queue": "reports"}, {"exchange": "secret"}, {}):
        sent = {"queued_at": long_ago, "publish_after": long_ago, "publish_count": 1}
        Run.objects.create(job="probe", trigger=Trigger.CLI, routing=routing, username="secret", **sent)
    DeadLetter.objects.create(reason="secret", task="secret", size=1, received_at=timezone.now())
    text = client.get("/readyz").text
    assert "reports" in text
    assert "not accepted by 1 destination" in text
    assert "secret" not in text
    assert "example.com" not in text


def refuse(*args: Any, **kwargs: Any) -> None:
    raise OperationalError("password authentication failed for user jobs")


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "read", refuse)
    monkeypatch.setattr(connection, "cursor", refuse)
    monkeypatch.setattr(clock, "now", timezone.now)


UNKNOWN = "not known: the database is not available"


@pytest.mark.usefixtures("no_database")
def test_without_the_database_it_is_not_ready_and_reveals_no_details(client: Client) -> None:
    response = client.get("/readyz")
    problem = {"part": "database", "problem": "no database", "text": "OperationalError"}
    assert (response.status_code, response.json()) == (
        503,
        {
            "ready": False,
            "checks": {
                "database": {"ok": False, "reason": "not available: OperationalError"},
                "broker": {"ok": True, "reason": "available"},
                "beat": {"ok": False, "reason": UNKNOWN},
                "workers": {"ok": False, "reason": UNKNOWN},
                "queues": {"ok": False, "reason": UNKNOWN},
            },
            "problems": [problem],
        },
    )


@pytest.mark.usefixtures("no_database")
def test_an_outage_of_redis_is_noticed_without_the_database(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "broker_problems", lambda: iter(["a problem"]))
    assert failed(client.get("/readyz").json())["broker"] == "not available"


@pytest.mark.django_db
def test_a_database_that_lacks_a_migration_says_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(*args: Any, **kwargs: Any) -> None:
        raise ProgrammingError("no such column")

    monkeypatch.setattr(health, "read", lack)
    assert failed(client.get("/readyz").json())["database"] == "not available: ProgrammingError"
    MigrationRecorder(connection).record_unapplied("jobledger", "0001_initial")
    monkeypatch.setattr(readiness.reading, "_attempts", [])
    response = client.get("/readyz")
    reasons = failed(response.json())
    assert reasons["database"] == "not migrated: ProgrammingError"
    assert reasons["beat"] == "not known: the database is not migrated"
    assert response.json()["problems"][0]["problem"] == "not migrated"


@pytest.fixture
def frozen_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    """A database that neither answers nor refuses; what has been asked."""
    asked: list[None] = []
    thawed = threading.Event()

    def hang(*args: Any, **kwargs: Any) -> None:
        asked.append(None)
        thawed.wait()
        raise OperationalError

    monkeypatch.setattr(reading, "_in_thread", in_thread)
    for each in (views.database, readiness.reading, metrics_views.families):
        monkeypatch.setattr(each, "_read", hang)
        monkeypatch.setattr(each, "_within_seconds", 0.0)
    yield asked
    thawed.set()
    for thread in threading.enumerate():
        if thread.name == "reading":
            thread.join()


def test_a_frozen_database_is_no_reason_to_restart_the_web_server(
    client: Client, frozen_database: list[None]
) -> None:
    assert client.get("/healthz").content == b"database: no answer within 0 s\n"
    assert client.get("/livez").status_code == 200
    assert len(frozen_database) == 1


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_however_many_probes_come_one_thread_waits_for_a_frozen_database(
    client: Client, frozen_database: list[None], path: str, settings: Any
) -> None:
    override(settings, METRICS_NETWORKS=["127.0.0.1"])
    assert [client.get(path).status_code for _ in range(9)] == [503] * 9
    assert len(frozen_database) == 1


@pytest.mark.usefixtures("frozen_database")
def test_a_database_that_does_not_answer_is_the_reason_why_it_is_not_ready(client: Client) -> None:
    reasons = failed(client.get("/readyz").json())
    assert reasons.pop("database") == "not available: no answer within 0 s"
    assert set(reasons.values()) == {UNKNOWN}
    assert set(reasons) == {"broker", "beat", "workers", "queues"}
