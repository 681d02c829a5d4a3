"""Schedules start tasks of another service, and learn from its result backend how they end."""

import signal
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from proj.embedded_redis import command as redis_command
from tests.integration.schedules.beats import this_second
from tests.integration.service import Service, service
from tests.integration.slots import SECOND, Span, longest_lateness, newest_slot, schedule_every_second
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database

# A tick on a busy machine.
MAX_LATENESS = 4 * SECOND

SCHEDULE = """
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask
every, _ = IntervalSchedule.objects.get_or_create(every=1, period="seconds")
PeriodicTask.objects.create(
    name={name!r}, task={task!r}, args={args!r}, interval=every, queue="billing", start_time=timezone.now(),
    one_off={once},
)
"""


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """A service with a beat, a worker, and a server of its own for results, and the other one's worker."""
    with service() as started:
        # Afterwards, since they need no other tables than the usual settings.
        started.variables["DJANGO_SETTINGS_MODULE"] = "tests.integration.schedules.billing_settings"
        started.variables["RESULT_BACKEND_URL"] = f"redis+socket://{started.folder}/results.sock"
        start_results(started)
        started.start_worker()
        elsewhere = ("celery", "-A", "tests.integration.schedules.billing", "worker", "-Q", "billing")
        flags = ("--concurrency", "2", "--loglevel", "INFO", "--hostname", "billing@there")
        started.start("billing", sys.executable, "-m", *elsewhere, *flags, DJANGO_SETTINGS_MODULE="")
        wait_until(lambda: "ready." in started.log("billing"), what="the other service is ready")
        started.start_beat()
        yield started


def start_results(running: Service) -> None:
    """Start or restart the server of the results, and wait until it answers."""
    socket = running.folder / "results.sock"
    running.start("results", *redis_command(socket, running.folder / "results-data"))
    wait_until(lambda: answers(socket), what="the server of the results answers")


def answers(socket: Path) -> bool:
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def schedule(running: Service, name: str, task: str, *, args: str = "[]", once: bool = True) -> None:
    running.shell(SCHEDULE.format(name=name, task=task, args=args, once=once))


def run_of(running: Service, name: str, *statuses: str) -> dict[str, Any] | None:
    found = [
        run for run in running.runs("--limit", "500") if run["schedule"] == name and run["status"] in statuses
    ]
    return found[0] if found else None


def test_their_runs_end_as_the_tasks_do(running: Service) -> None:
    schedule(running, "good", "billing.charge", args="[5]")
    schedule(running, "bad", "billing.charge", args="[500]")
    schedule(running, "later", "billing.charge_later")
    schedule(running, "forgotten", "billing.forget")
    good = wait_until(lambda: run_of(running, "good", "succeeded"), what="the success is read")
    bad = wait_until(lambda: run_of(running, "bad", "failed"), what="the failure is read")
    wait_until(lambda: run_of(running, "later", "succeeded"), what="the success after a retry is read")
    assert good["scheduled_for"] <= good["queued_at"] <= good["finished_at"]
    assert datetime.fromisoformat(good["finished_at"]) <= datetime.now(UTC)
    assert bad["error"] == "DeclinedError: 500 is too much"
    assert bad["reason_details"] == {
        "type": "DeclinedError",
        "module": "tests.integration.schedules.billing",
    }
    forgotten = wait_until(lambda: run_of(running, "forgotten", "sent"), what="the other one is sent")
    wait_until(lambda: "billing.forget" in running.log("billing"), what="it is executed")
    assert forgotten["reason"] == "awaits_result"


@pytest.mark.parametrize("how", ["hangs", "is gone"])
def test_a_result_backend_that_does_not_answer_delays_no_schedule(running: Service, how: str) -> None:
    name = f"beside results: {how}"
    schedule_every_second(running, name)
    wait_until(lambda: newest_slot(running, name), what="a run succeeds")
    # The other service does not execute its task before it can store the result.
    running.processes["billing"].send_signal(signal.SIGSTOP)
    if how == "hangs":
        running.processes["results"].send_signal(signal.SIGSTOP)
    else:
        running.stop("results", signal.SIGKILL)
    try:
        schedule(running, how, "billing.charge", args="[5]")
        wait_until(lambda: run_of(running, how, "sent"), what="the task is sent")
        since = this_second() + SECOND
        span = Span(since=since, until=since + 6 * SECOND)
        wait_until(lambda: (newest_slot(running, name) or since) >= span.until, what="runs go on")
        assert run_of(running, how, "sent")
    finally:
        if how == "hangs":
            running.processes["results"].send_signal(signal.SIGCONT)
        else:
            start_results(running)
        running.processes["billing"].send_signal(signal.SIGCONT)
    assert longest_lateness(running, name, span) < MAX_LATENESS
    wait_until(lambda: run_of(running, how, "succeeded"), what="the result is read at last")
