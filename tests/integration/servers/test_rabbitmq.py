"""RabbitMQ as the broker, without any Redis: it dies, hangs, closes channels; no run is lost or repeated.

``FAULT_SECONDS`` is for how long everything is killed again and again; by default, once.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from kombu import Connection, Producer

from tests.integration.database import rows
from tests.integration.faults import chaos, draining
from tests.integration.faults.workers import QUICK, another_worker, usual_worker, when_begun
from tests.integration.ledger import (
    call,
    call_lasting,
    enqueue,
    let_end,
    run_rows,
    wait_for_end,
    whats,
)
from tests.integration.processes import kill_whole
from tests.integration.schedules.beats import newer_slot, settled, this_second
from tests.integration.servers.rabbitmq import RabbitMQ, rabbitmq
from tests.integration.service import Service, service
from tests.integration.slots import (
    SECOND,
    Span,
    newest_slot,
    perfect,
    schedule_every_second,
    switch_everything_off,
)
from tests.requirements import rabbitmq_or_skip
from tests.waiting import wait_until

CALLS = 6
CHAOS_SECONDS = int(os.environ.get("FAULT_SECONDS", "0"))
numbers = count(1)
MAX_SECONDS_WHILE_IT_HANGS = 60
TIMED_OUT = "delivery acknowledgement on channel"
HEALTH = """
import time
from jobledger import health
begin = time.monotonic()
print([problem.text for problem in health.broker_problems()], time.monotonic() - begin < 5)
"""
KEEP_AND_MOVE = """
from celery import current_app
from jobledger.models import DeadLetter
from jobledger.runs.worker.messages import dead_letters
found = DeadLetter.objects.filter(reason="it waits")
with current_app.connection_for_read() as connection:
    dead_letters.keep(connection.default_channel, dead_letters.unreadable(b"x", "it waits"))
print(len(dead_letters._in_memory), found.count())
dead_letters.move_all()
print(found.count())
"""
TO_NO_EXCHANGE = """
from jobledger.models import Trigger
from jobledger.runs.dispatch import RunRequest, enqueue
routing = {"exchange": "nowhere", "routing_key": "x"}
lost = enqueue(RunRequest(job="allowing", options={}, trigger=Trigger.ADMIN, routing=routing))
lost.refresh_from_db()
print(lost.status, lost.error)
"""


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Service, RabbitMQ]]:
    """A service with a beat, and no Redis."""
    rabbitmq_or_skip()
    with service(**QUICK, REMOTE_CONTROL="true") as started:
        started.stop("redis")
        with rabbitmq(started) as server:
            started.start_beat()
            yield started, server


@pytest.fixture
def running(made: tuple[Service, RabbitMQ]) -> Service:
    return made[0]


@pytest.fixture
def server(made: tuple[Service, RabbitMQ]) -> RabbitMQ:
    """The server, even if an earlier test that failed has stopped it."""
    if not made[0].is_running("rabbitmq"):
        made[1].start()
    return made[1]


@pytest.fixture
def worker(running: Service, server: RabbitMQ) -> str:
    """The name of the only worker, which may be killed: the next test then gets a new one."""
    return usual_worker(running)


@pytest.mark.timeout(CHAOS_SECONDS + 900)
def test_slots_and_calls_run_once_although_everything_is_killed(
    running: Service, server: RabbitMQ, worker: str
) -> None:
    schedule_every_second(running, "rabbit")
    wait_until(lambda: newest_slot(running, "rabbit"), what="a run succeeds")
    since = this_second() + SECOND
    called, killed, end = list[UUID](), 0, time.monotonic() + CHAOS_SECONDS
    while not killed or time.monotonic() < end:
        called += [call(running, "restarting", seconds=0.5, tenant=f"{killed} {n}") for n in range(CALLS)]
        worker = kill_all(running, server, worker)
        killed += 1
    back = this_second()
    until = wait_until(lambda: newer_slot(running, "rabbit", back + SECOND), what="runs succeed again")
    span = Span(since=since, until=until)
    figures = settled(running, "rabbit", span)
    switch_everything_off(running)
    print(f"{figures}; {len(called)} calls; everything killed {killed} times")
    assert figures == perfect(len(span))
    # They were in no ledger when everything was killed, only on RabbitMQ's disk.
    wait_until(lambda: set(called) <= {row.pk for row in run_rows(running)}, what="all calls are received")
    assert {wait_for_end(running, pk).status for pk in called} == {"succeeded"}
    assert running.is_running(worker)


def kill_all(running: Service, server: RabbitMQ, worker: str) -> str:
    """Kill everything in any order, and start it again; returns the name of the new worker."""
    kills: list[Callable[[], object]] = [
        partial(kill_whole, running, worker),
        partial(running.stop, "beat", signal.SIGKILL),
        server.kill,
    ]
    random.shuffle(kills)
    for kill in kills:
        # There is nothing to wait for between kills.
        time.sleep(random.uniform(0, 0.5))
        kill()
    running.start_beat()
    name = start_without_waiting(running)
    server.start()
    return name


def start_without_waiting(running: Service) -> str:
    """Start a worker that cannot be ready yet; returns its name."""
    name = f"worker-without-broker-{next(numbers)}"
    command = (*running.celery_command, "worker", "--loglevel", "INFO", "--hostname", f"{name}@here")
    running.start(name, *command)
    wait_until(lambda: "Trying again in" in running.log(name), what="the worker cannot connect")
    return name


@pytest.mark.timeout(chaos.SECONDS + 900)
def test_all_runs_are_accounted_for_when_children_workers_and_rabbitmq_are_killed_at_random(
    running: Service, server: RabbitMQ, worker: str
) -> None:
    chaos.account_for_all_runs(running, server, worker)


def test_what_waits_goes_to_another_worker_while_a_drained_one_finishes_what_it_has(
    running: Service, server: RabbitMQ, worker: str
) -> None:
    draining.drain_one_of_two(running, server, worker)


@pytest.mark.timeout(chaos.SECONDS + 900)
def test_workers_that_replace_each_other_under_load_lose_and_double_nothing(
    running: Service, worker: str
) -> None:
    draining.replace_under_load(running, worker)


def test_a_job_longer_than_the_consumer_timeout_is_executed_once(
    running: Service, server: RabbitMQ, worker: str
) -> None:
    kill_whole(running, worker)
    with server.consumer_timeout(4), another_worker(running) as worker:
        pk = call_lasting(running, "lasting")
        when_begun(running, pk)
        wait_until(lambda: TIMED_OUT in running.log(worker), what="RabbitMQ closes the channel")
        wait_until(lambda: running.log(worker).count(f"message of run {pk} of"), what="it is delivered again")
        assert_goes_on(running, worker, pk)


def assert_goes_on(running: Service, worker: str, pk: UUID) -> None:
    """The worker executes others, and the run once."""
    others = enqueue(running, "allowing", count=2, seconds=0.1)
    assert {wait_for_end(running, other).status for other in others} == {"succeeded"}
    with let_end(running, "lasting"):
        row = wait_for_end(running, pk)
    assert (row.status, whats(running, pk)) == ("succeeded", ["begin", "end", "cleanup"])
    assert running.is_running(worker)


def test_a_rabbitmq_that_hangs_holds_nobody_up_for_long(
    running: Service, server: RabbitMQ, worker: str
) -> None:
    running.processes["rabbitmq"].send_signal(signal.SIGSTOP)
    try:
        begin = time.monotonic()
        (run,) = enqueue(running, "allowing", seconds=0.1)
        seconds = time.monotonic() - begin
        (problems, is_quick) = running.shell(HEALTH).rsplit(maxsplit=1)
    finally:
        running.processes["rabbitmq"].send_signal(signal.SIGCONT)
    assert seconds < MAX_SECONDS_WHILE_IT_HANGS
    assert ("RabbitMQ is not available: " in problems, is_quick) == (True, "True")
    assert wait_for_end(running, run).status == "succeeded"


def test_a_message_that_rabbitmq_refuses_fails_its_run_and_stops_no_other(
    running: Service, worker: str
) -> None:
    status, _, error = running.shell(TO_NO_EXCHANGE).strip().partition(" ")
    assert (status, "NOT_FOUND - no exchange 'nowhere'" in error) == ("failed", True)
    (run,) = enqueue(running, "allowing", seconds=0.1)
    assert wait_for_end(running, run).status == "succeeded"


MALFORMED: list[dict[str, Any]] = [
    {"body": b"\xff", "headers": {"task": "probes.probe", "id": "odd 1"}},
    {"body": b"[" * 500 + b"]" * 500, "headers": {"task": "probes.probe", "id": "odd 2"}},
    {"body": b"[[], {}, {}]", "headers": {"task": 5, "id": "odd 3"}},
    {"body": b"{}", "headers": {"note": "odd 4"}},
    {"body": b"x", "headers": {"task": "probes.probe", "id": "odd 5", "compression": "bzip2"}},
    {"body": b"[[], {}, {}]", "headers": {"task": "no.such", "id": "odd 6"}},
    {"body": b"x", "headers": {"note": "odd 7"}, "content_type": "application/x-python-serialize"},
]


def test_malformed_messages_become_dead_letters_and_stop_no_worker(
    running: Service, server: RabbitMQ, worker: str
) -> None:
    with Connection(server.url) as connection:
        producer = Producer(connection.channel())
        for message in MALFORMED:
            usual = {"content_type": "application/json", "content_encoding": "utf-8"}
            producer.publish(routing_key="celery", **{**usual, **message})
    wait_until(lambda: not unrecorded(running), what="all are recorded")
    (run,) = enqueue(running, "allowing", seconds=0.1)
    assert wait_for_end(running, run).status == "succeeded"
    assert running.is_running(worker)


def test_a_dead_letter_waits_in_rabbitmq_for_the_ledger(running: Service, server: RabbitMQ) -> None:
    assert running.shell(KEEP_AND_MOVE).split() == ["0", "0", "1"]


def unrecorded(running: Service) -> list[str]:
    """The malformed messages that are no dead letters yet."""
    kept = str(rows(running, "SELECT content FROM jobledger_deadletter"))
    names = [f"odd {number}" for number, _ in enumerate(MALFORMED, start=1)]
    return [name for name in names if name not in kept]


def test_remote_control_reaches_the_worker(running: Service, worker: str) -> None:
    answers = "from celery import current_app; print(current_app.control.ping(timeout=10, limit=1))"
    assert f"'{worker}@here': {{'ok': 'pong'}}" in running.shell(answers)
