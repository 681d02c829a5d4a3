"""Runs in processes of their own: what happens in them is on record, and the worker's children live on."""

import json
from typing import Any
from uuid import UUID

import psutil
import pytest

from tests.integration.ledger import (
    call,
    cancel,
    child_of,
    output_of,
    release,
    wait_for_end,
    wait_for_start,
)
from tests.integration.processes import is_alive
from tests.integration.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database

IN_FRESH_PROCESS = """
from jobledger.models import Run, Trigger
from jobledger.runs.execution import isolation, runner
run = Run.objects.create(job="isolated", options={"seconds": 0, "calls": "hello"}, trigger=Trigger.CELERY)
isolation.is_fork_safe, before = lambda: False, isolation.is_fork_safe
ended = runner.execute(run.pk, worker="console")
isolation.is_fork_safe = before
print(ended.run.pk, ended.run.status, ended.last_line)
"""


def children_of_worker(running: Service) -> list[int]:
    """Those that execute runs, without the processes of isolated runs."""
    return [child.pid for child in psutil.Process(running.processes["worker"].pid).children()]


def process_of(text: str) -> dict[str, Any]:
    """What the job has found in its process."""
    found: dict[str, Any] = json.loads(next(line for line in text.splitlines() if line.startswith("{")))
    return found


def test_an_isolated_run_ends_as_its_process_does_and_leaves_the_workers_child_alone(
    running: Service,
) -> None:
    endings: list[tuple[dict[str, Any], tuple[str, str, int, str]]] = [
        ({}, ("succeeded", "", 0, "")),
        ({"calls": "hello"}, ("succeeded", "", 0, "")),
        ({"fail": "no"}, ("failed", "command_error", 3, "no")),
        ({"signal": "SIGKILL"}, ("failed", "signal", 137, "")),
        ({"signal": "SIGSEGV"}, ("failed", "signal", 139, "")),
        ({"signal": "SIGTERM"}, ("failed", "signal", 143, "about to end")),
        ({"exit_hard": 7}, ("failed", "exit_code", 7, "about to end")),
    ]
    pks = [call(running, "isolated", seconds=0, **options) for options, _ in endings]
    rows = [wait_for_end(running, pk) for pk in pks]
    assert [(row.status, row.reason, row.exit_code, row.error) for row in rows] == [end for _, end in endings]
    children = {int(row.worker.rpartition(":")[2]) for row in rows}
    assert children <= set(children_of_worker(running))
    assert all("about to end" in output_of(running, pk) for pk in pks)
    assert "Segmentation fault" in output_of(running, pks[4])
    first, second = process_of(output_of(running, pks[0])), process_of(output_of(running, pks[1]))
    assert first["pid"] != second["pid"]
    assert {first["parent"], second["parent"]} <= children
    assert first["databases"] == []
    assert "-c" not in (first["program"], second["program"]), "both are forked"
    nested = child_of(running, pks[1])
    assert (nested.job, nested.status) == ("probe", "succeeded")


def executed_by(running: Service) -> int:
    """The worker's child that has executed a short run."""
    return int(wait_for_end(running, call(running, "allowing", seconds=0)).worker.rpartition(":")[2])


def threads_of(pid: int) -> set[int]:
    return {thread.id for thread in psutil.Process(pid).threads()}


def test_a_child_keeps_the_thread_that_reads_output_until_it_forks_for_an_isolated_run(
    running: Service,
) -> None:
    # All other children are busy, so the runs are executed by the same one.
    others = int(running.variables["WORKER_CONCURRENCY"]) - 1
    busy = [call(running, "allowing", seconds=60) for _ in range(others)]
    for pk in busy:
        wait_for_start(running, pk)
    child = executed_by(running)
    # That of the heartbeat may be about to end.
    wait_until(lambda: len(threads_of(child)) == 2, what="one is left")
    before = threads_of(child)
    assert executed_by(running) == child
    wait_until(lambda: threads_of(child) == before, what="it is the same one")
    isolated = call(running, "isolated", seconds=0)
    wait_for_end(running, isolated)
    release(running, *busy)
    assert threads_of(child) == {child}
    found = process_of(output_of(running, isolated))
    assert (found["parent"], "-c" in found["program"]) == (child, False)


def test_an_isolated_run_can_be_cancelled(running: Service) -> None:
    pk = call(running, "isolated", seconds=60)
    process = wait_for_start(running, pk).pid
    cancel(running, pk)
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code, bool(row.progress_done)) == ("cancelled", 130, True)
    wait_until(lambda: not is_alive(process), what="its process has ended")


def test_a_run_in_a_new_interpreter_is_recorded_in_the_same_way(running: Service) -> None:
    pk, status, last_line = running.shell(IN_FRESH_PROCESS).split()
    assert (status, last_line) == ("succeeded", "hello")
    process = process_of(output_of(running, UUID(pk)))
    assert (process["databases"], process["program"]) == ([], "-c")


SLOW_START = '''
from jobledger.runs.execution import isolation
isolation.LAUNCH = isolation.LAUNCH.replace("from jobledger.runs.execution import runner", """
from django.db import connection
from django.db.models import F
from jobledger.models import Run
from jobledger.runs.execution import runner
from tests.waiting import wait_until
renewed = Run.objects.filter(pk={run_id!r}, heartbeat_at__gt=F("started_at"))
wait_until(renewed.exists, what="the lease is renewed")
connection.close()""")
'''


def test_the_lease_of_a_run_is_renewed_while_its_new_interpreter_starts(running: Service) -> None:
    _, status, last_line = running.shell(SLOW_START + IN_FRESH_PROCESS).split()
    assert (status, last_line) == ("succeeded", "hello")
