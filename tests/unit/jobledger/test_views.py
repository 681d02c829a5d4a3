"""The health checks: /livez covers the web server, /healthz the database, /readyz the whole service."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib import admin
from django.db import DataError, InterfaceError, OperationalError, connection
from django.http import HttpRequest
from django.test import Client
from django.utils import timezone

from jobledger import clock, health
from jobledger.health import readiness
from jobledger.models import ProcessKind, Run, ServiceProcess, Trigger
from jobledger.runs.worker.code_version import code_version


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "_last", None)
    monkeypatch.setattr(health, "_broker", lambda: iter(()))


@pytest.fixture(autouse=True)
def time_stands_still() -> Iterator[None]:
    with time_machine.travel(timezone.now(), tick=False):
        yield


def running(kind: ProcessKind, **values: Any) -> None:
    now = timezone.now()
    given = {"version": code_version(), "queues": ["celery"], "started_at": now, **values}
    ServiceProcess.objects.create(kind=kind, name=f"a {kind}", seen_at=now, **given)


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
    assert b"gone" not in response.content


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
                "redis": {"ok": True, "reason": "available"},
                "beat": {"ok": True, "reason": "ticked now"},
                "workers": {"ok": True, "reason": "never took a message"},
                "queues": {"ok": True, "reason": "all in use are read"},
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
    assert failed(client.get("/readyz").json()) == {"queues": "none consumes reports"}


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


def test_without_the_database_it_is_not_ready_and_reveals_no_details(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("password authentication failed for user jobs")

    monkeypatch.setattr(health, "read", refuse)
    monkeypatch.setattr(clock, "now", timezone.now)
    response = client.get("/readyz")
    problem = {"part": "database", "problem": "no database", "text": "OperationalError"}
    check = {"ok": False, "reason": "not available: OperationalError"}
    assert (response.status_code, response.json()) == (
        503,
        {"ready": False, "checks": {"database": check}, "problems": [problem]},
    )
