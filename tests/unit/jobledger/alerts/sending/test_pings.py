"""External monitors hear of starts, successes and failures, and that beat is alive."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.alerts.sending import pings
from jobledger.alerts.sending.background import Background
from jobledger.models import Ping, ProcessKind, Run, SchedulePolicy, ServiceProcess
from jobledger.runs import attempts
from jobledger.runs.identity import IDENTITY
from jobledger.runs.outcome import SUCCESS
from tests.ports import free_port
from tests.receivers import Received, silent_server, web_server
from tests.unit.builders import override
from tests.unit.jobledger.alerts.builders import (
    CANCELLED,
    CRASH,
    LOST,
    TIMED_OUT,
    end,
    fail,
    running,
    succeed,
)
from tests.unit.jobledger.schedules.builders import hourly

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]


@pytest.fixture(autouse=True)
def private_network(settings: Settings) -> None:
    """The tests' monitors are on this machine."""
    override(settings, PING_NETWORKS=["127.0.0.0/8"])


@pytest.fixture
def monitor() -> Iterator[Received]:
    with web_server() as received:
        yield received


def monitored(port: int, name: str = "nightly") -> PeriodicTask:
    schedule = hourly(name)
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url=f"http://127.0.0.1:{port}/uuid")
    return schedule


def send_all() -> None:
    pings.note_starts(timezone.now())
    for due in pings.due_by_host(timezone.now()).values():
        pings.send(due)


def test_a_run_pings_when_it_starts_and_when_it_has_succeeded(monitor: Received) -> None:
    run = running(schedule=monitored(monitor.port))
    send_all()
    assert monitor.paths == [f"/uuid/start?rid={run.pk}"]
    attempts.end(run, SUCCESS)
    send_all()
    send_all()
    assert monitor.paths == [f"/uuid/start?rid={run.pk}", f"/uuid?rid={run.pk}"]
    assert monitor.requests[1][1].startswith("Succeeded in 5 s")


def test_a_run_that_was_too_short_to_be_seen_pings_both_in_order(monitor: Received) -> None:
    run = succeed(schedule=monitored(monitor.port))
    send_all()
    assert monitor.paths == [f"/uuid/start?rid={run.pk}", f"/uuid?rid={run.pk}"]


def test_a_start_is_never_told_after_the_end(clock: time_machine.Traveller) -> None:
    with web_server(statuses={"/uuid/start": 503}) as received:
        run = running(schedule=monitored(received.port))
        send_all()
        attempts.end(run, SUCCESS)
        send_all()
        clock.shift(60)
        send_all()
    assert received.paths == [f"/uuid/start?rid={run.pk}", f"/uuid?rid={run.pk}"]


def test_the_start_of_a_run_that_lasts_for_days_is_told_once(
    monitor: Received, clock: time_machine.Traveller
) -> None:
    run = running(schedule=monitored(monitor.port))
    send_all()
    clock.shift(timedelta(days=2))
    pings.tidy(timezone.now())
    send_all()
    attempts.end(run, SUCCESS)
    send_all()
    assert monitor.paths == [f"/uuid/start?rid={run.pk}", f"/uuid?rid={run.pk}"]
    clock.shift(timedelta(days=2))
    pings.tidy(timezone.now())
    assert not Ping.objects.exists()


def test_the_runs_of_old_pings_are_looked_up_by_their_ids() -> None:
    """And not among all that are queued, of which there may be very many."""
    with CaptureQueriesContext(connection) as queries:
        pings.tidy(timezone.now())
    (sql,) = (each["sql"] for each in queries if Run._meta.db_table in each["sql"])
    assert "COALESCE(" in sql
    assert not re.search(r'"status" (=|IN)', sql)


@pytest.mark.parametrize(("outcome", "suffix"), [(CRASH, "/1"), (TIMED_OUT, "/124"), (LOST, "/fail")])
def test_a_failed_run_pings_with_its_exit_code(monitor: Received, outcome: object, suffix: str) -> None:
    run = end(outcome, schedule=monitored(monitor.port))  # type: ignore[arg-type]
    send_all()
    assert monitor.paths[1] == f"/uuid{suffix}?rid={run.pk}"


def test_a_failure_says_why_without_secrets(monitor: Received) -> None:
    from jobledger.runs.outcome import outcome_of

    error = outcome_of(RuntimeError("bad token s3cr3t-value"))
    end(error, schedule=monitored(monitor.port), options={"api_token": "s3cr3t-value"})
    send_all()
    body = monitor.requests[1][1]
    assert "bad token ********" in body


def test_a_cancelled_run_has_neither_succeeded_nor_failed(monitor: Received) -> None:
    end(CANCELLED, schedule=monitored(monitor.port))
    send_all()
    assert monitor.paths == []


def test_a_run_that_is_retried_has_not_ended(monitor: Received) -> None:
    fail(schedule=monitored(monitor.port), job="restarting")
    send_all()
    assert monitor.paths == []


def test_schedules_without_a_url_and_runs_without_a_schedule_ping_nobody() -> None:
    succeed(schedule=hourly())
    succeed()
    running(schedule=hourly("other"))
    send_all()
    assert not Ping.objects.exists()


@pytest.mark.parametrize(
    ("url", "event", "exit_code", "expected"),
    [
        ("https://hc-ping.com/uuid", "start", None, "https://hc-ping.com/uuid/start?rid=7"),
        ("https://hc-ping.com/uuid/", "success", 0, "https://hc-ping.com/uuid?rid=7"),
        ("https://hc-ping.com/key/slug?create=1", "fail", 3, "https://hc-ping.com/key/slug/3?create=1&rid=7"),
        ("https://a.example/b?t=&x=1&flag", "success", 0, "https://a.example/b?t=&x=1&flag&rid=7"),
        ("https://a.example/b?x=a%20b+c", "success", 0, "https://a.example/b?x=a%20b+c&rid=7"),
        ("https://hc-ping.com/uuid", "fail", 256, "https://hc-ping.com/uuid/fail?rid=7"),
        ("https://hc-ping.com/uuid", "fail", -9, "https://hc-ping.com/uuid/fail?rid=7"),
    ],
)
def test_addresses_follow_the_conventions(url: str, event: str, exit_code: int | None, expected: str) -> None:
    assert pings.address(url, event, 7, exit_code) == expected


def test_a_dead_monitor_is_tried_again_and_hears_everything_in_order(
    clock: time_machine.Traveller, settings: Settings
) -> None:
    port = free_port()
    schedule = monitored(port)
    run = succeed(schedule=schedule)
    send_all()
    first = Ping.objects.order_by("pk")[0]
    assert (first.attempts, first.sent_at) == (1, None)
    assert "refused" in first.error
    with web_server() as received:
        monitored_at(schedule, received.port)
        clock.shift(9)
        send_all()
        assert received.paths == []
        clock.shift(1)
        send_all()
    assert received.paths == [f"/uuid/start?rid={run.pk}", f"/uuid?rid={run.pk}"]


def monitored_at(schedule: PeriodicTask, port: int) -> None:
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url=f"http://127.0.0.1:{port}/uuid")


def test_a_monitor_that_refuses_one_schedule_hears_of_the_others(clock: time_machine.Traveller) -> None:
    with web_server(statuses={"/deleted": 404}) as received:
        deleted = hourly("a")
        url = f"http://127.0.0.1:{received.port}/deleted"
        SchedulePolicy.objects.filter(schedule=deleted).update(ping_url=url)
        refused = succeed(schedule=deleted)
        run = succeed(schedule=monitored(received.port, "b"))
        send_all()
        assert received.paths == [
            f"/deleted/start?rid={refused.pk}",
            f"/uuid/start?rid={run.pk}",
            f"/uuid?rid={run.pk}",
        ]
        clock.shift(10)
        send_all()
    # In order: its end is not sent before its start.
    assert received.paths[3:] == [f"/deleted/start?rid={refused.pk}"]


def test_a_redirect_to_a_dead_host_holds_up_no_other_schedule() -> None:
    location = f"http://127.0.0.1:{free_port()}/"
    with web_server(statuses={"/moved": 302}, location=location) as received:
        moved = hourly("a")
        url = f"http://127.0.0.1:{received.port}/moved"
        SchedulePolicy.objects.filter(schedule=moved).update(ping_url=url)
        succeed(schedule=moved)
        run = succeed(schedule=monitored(received.port, "b"))
        send_all()
    assert received.paths[1:] == [f"/uuid/start?rid={run.pk}", f"/uuid?rid={run.pk}"]


def test_a_host_that_does_not_answer_is_left_alone_by_all_its_schedules() -> None:
    port = free_port()
    succeed(schedule=monitored(port, "a"))
    succeed(schedule=monitored_elsewhere(port))
    send_all()
    assert list(Ping.objects.order_by("pk").values_list("attempts", flat=True)) == [1, 0, 0, 0]
    assert pings.due_by_host(timezone.now()) == {}


def monitored_elsewhere(port: int) -> PeriodicTask:
    schedule = hourly("elsewhere")
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url=f"http://127.0.0.1:{port}/other")
    return schedule


def test_what_waits_for_a_monitor_that_was_removed_is_given_up_without_a_word(
    clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    schedule = monitored(free_port())
    succeed(schedule=schedule)
    send_all()
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url="")
    caplog.clear()
    clock.shift(10)
    send_all()
    assert caplog.text == ""
    assert not Ping.objects.filter(due_at__isnull=False).exists()


def test_a_ping_that_comes_too_late_is_given_up(clock: time_machine.Traveller) -> None:
    succeed(schedule=monitored(free_port()))
    clock.shift(timedelta(minutes=10))
    pings.tidy(timezone.now())
    assert pings.due_by_host(timezone.now()) == {}
    clock.shift(timedelta(days=1))
    pings.tidy(timezone.now())
    assert not Ping.objects.exists()


def test_a_monitor_that_does_not_answer_is_left_after_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pings, "TIMEOUT_SECONDS", 0.2)
    with silent_server() as port, pytest.raises(pings.PingError, match="timed out"):
        pings.request(f"http://127.0.0.1:{port}/", b"")


def test_an_answer_that_is_an_error_is_not_accepted_and_quotes_no_url() -> None:
    with web_server(status=404) as received, pytest.raises(pings.PingError) as caught:
        pings.request(f"http://127.0.0.1:{received.port}/s3cret", b"")
    assert str(caught.value) == "HTTP Error 404: Not Found"


def test_a_monitors_own_words_are_escaped_and_cut() -> None:
    with web_server(status=500, reason="\x00\x1b]0;" + "x" * 1000) as received:
        succeed(schedule=monitored(received.port))
        send_all()
    error = Ping.objects.order_by("pk")[0].error
    assert error.startswith(r"HTTP Error 500: \x00\x1b]0;xxx")
    assert len(error) == pings.MAX_ERROR_LENGTH


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "", "ftp://127.0.0.1/s3cret", "http://127.0.0.1:s3cret/"]
)
def test_only_http_is_requested(url: str) -> None:
    with pytest.raises(pings.PingError) as caught:
        pings.request(url, b"")
    assert "s3cret" not in str(caught.value)


def test_each_host_is_served_on_its_own() -> None:
    succeed(schedule=monitored(1001, "a"))
    succeed(schedule=monitored(1002, "b"))
    assert {host: len(due) for host, due in pings.due_by_host(timezone.now()).items()} == {
        "127.0.0.1:1001": 2,
        "127.0.0.1:1002": 2,
    }


def test_a_ping_is_sent_by_one_process() -> None:
    with web_server() as received:
        succeed(schedule=monitored(received.port))
        due = next(iter(pings.due_by_host(timezone.now()).values()))
        pings.send(due)
        pings.send(due)
    assert len(received.paths) == 2


# --- Beat


def beat_seen(seconds_ago: float) -> None:
    seen_at = timezone.now() - timedelta(seconds=seconds_ago)
    ServiceProcess.objects.create(kind=ProcessKind.BEAT, name="b", identity=IDENTITY, seen_at=seen_at)


def step_until_pings_are_sent(made: Background) -> None:
    made._ping_for_beat(timezone.now())
    made._pingers.join(60)


def test_beat_pings_its_monitor_while_it_ticks(settings: Settings, monitor: Received) -> None:
    override(settings, BEAT_PING_URL=f"http://127.0.0.1:{monitor.port}/beat")
    beat_seen(5)
    step_until_pings_are_sent(Background())
    assert monitor.paths == ["/beat"]


def test_a_beat_that_hangs_does_not_ping(settings: Settings, monitor: Received) -> None:
    override(settings, BEAT_PING_URL=f"http://127.0.0.1:{monitor.port}/beat")
    beat_seen(40)
    step_until_pings_are_sent(Background())
    assert monitor.paths == []


def test_a_monitor_of_beat_that_is_dead_is_logged(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    override(settings, BEAT_PING_URL=f"http://127.0.0.1:{free_port()}/s3cret")
    pings.ping_for_beat()
    assert "cannot be reached" in caplog.text
    assert "s3cret" not in caplog.text
