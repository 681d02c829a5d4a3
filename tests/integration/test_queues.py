"""Jobs that declare their queue and priority, with real workers and a real broker."""

import os
import signal
from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.integration.database import database_hung
from tests.integration.ledger import (
    call,
    call_lasting,
    enqueue,
    let_end,
    run_rows,
    traces,
    wait_for_end,
    wait_for_start,
)
from tests.integration.processes import children_of, with_workers
from tests.integration.service import Service, service
from tests.waiting import wait_until

DELAY = """
from celery import current_app
import jobledger.tasks
print(current_app.tasks["probes.reporting"].delay(seconds=0.1).id)
"""
ENQUEUE = """
from jobledger.models import Trigger
from jobledger.runs.dispatch import RunRequest, enqueue
for priority in {priorities}:
    routing = {{}} if priority is None else {{"priority": priority}}
    request = RunRequest(job="allowing", options={{"seconds": 0}}, trigger=Trigger.ADMIN, routing=routing)
    print(enqueue(request).pk)
"""

SENT = """
from celery import current_app
for stats in (current_app.control.inspect(timeout=0.5).stats() or {}).values():
    print(stats["pool"]["writes"]["total"])
"""


@pytest.fixture
def running() -> Iterator[Service]:
    """A service without a worker, each of which executes one run at a time."""
    with service(WORKER_CONCURRENCY="1") as started:
        yield started


def test_a_job_is_executed_by_a_worker_of_its_queue_however_it_is_started(running: Service) -> None:
    running.start_worker("usual")
    running.start_worker("other", "--queues", "reports")
    arguments = ("--kwargs", '{"seconds": 0.1}')
    started = [
        *enqueue(running, "reporting", seconds=0.1),
        UUID(running.celery("call", "probes.reporting", *arguments).stdout.strip()),
        UUID(running.manage("jobledger", "call", "reporting", "--seconds", "0.1").stdout.strip()),
        UUID(running.shell(DELAY).strip()),
    ]
    (usual,) = enqueue(running, "allowing", seconds=0.1)
    rows = [wait_for_end(running, pk) for pk in started]
    assert [(row.status, row.worker.partition("@")[0]) for row in rows] == [("succeeded", "other")] * 4
    assert wait_for_end(running, usual).worker.startswith("usual@")


def test_a_worker_takes_what_has_the_highest_priority_first(running: Service) -> None:
    priorities = [9, 1, None, 2, 5, 0, 8]
    printed = running.shell(ENQUEUE.format(priorities=priorities)).split()
    priority_of = dict(zip(map(UUID, printed), priorities, strict=True))
    running.start_worker()
    wait_until(lambda: all(row.is_over for row in run_rows(running)), what="all runs are over")
    executed = sorted(run_rows(running), key=lambda row: str(row.started_at))
    # Without a priority, a message has the highest.
    assert [priority_of[row.pk] or 0 for row in executed] == [0, 0, 1, 2, 5, 8, 9]


def test_a_message_waits_for_no_job_while_another_worker_is_free(running: Service) -> None:
    running.start_worker("busy")
    lasting = call_lasting(running, "lasting")
    wait_for_start(running, lasting)
    quick = call(running, "allowing", seconds=0)
    running.start_worker("free")
    assert wait_for_end(running, quick).worker.startswith("free@")
    with let_end(running, "lasting"):
        assert wait_for_end(running, lasting).worker.startswith("busy@")


def test_a_message_is_fetched_while_the_end_of_a_run_is_recorded(running: Service) -> None:
    """The next run begins at once then."""
    running.start_worker()
    lasting = call_lasting(running, "lasting")
    wait_for_start(running, lasting)
    with database_hung(running), let_end(running, "lasting"):
        wait_until(lambda: traces(running, lasting, "cleanup"), what="the job has ended")
        quick = call(running, "allowing", seconds=0)
        wait_until(lambda: with_workers(running) == 2, what="the worker has fetched the next message")
    assert [wait_for_end(running, pk).status for pk in (lasting, quick)] == ["succeeded"] * 2


def test_a_message_that_was_sent_to_a_child_is_executed_even_if_that_dies(running: Service) -> None:
    """The child records the end of a run, and has not read the message of the next."""
    running.start_worker(REMOTE_CONTROL="true")
    lasting = call_lasting(running, "lasting")
    wait_for_start(running, lasting)
    (child,) = children_of(running, "worker")
    with database_hung(running), let_end(running, "lasting"):
        wait_until(lambda: traces(running, lasting, "cleanup"), what="the job has ended")
        quick = call(running, "allowing", seconds=0)
        wait_until(lambda: running.shell(SENT).strip() == "2", what="the child was sent the next message")
        os.kill(child, signal.SIGKILL)
    ended = [wait_for_end(running, pk) for pk in (lasting, quick)]
    assert [run.status for run in ended] == ["succeeded"] * 2
    assert [run.worker.endswith(f":{child}") for run in ended] == [True, False]
    wait_until(lambda: with_workers(running) == 0, what="both messages are acknowledged")
