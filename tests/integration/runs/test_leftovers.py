"""What jobs leave behind in their process, and how they exit."""

import json
import signal
from typing import Any
from uuid import UUID

import pytest

from tests.integration.command_line import from_command_line, run_from_command_line
from tests.integration.ledger import (
    call,
    cancel,
    output_of,
    release,
    traces,
    wait_for_end,
    wait_for_start,
    whats,
)
from tests.integration.processes import is_alive
from tests.integration.service import Service
from tests.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.every_database


@pytest.mark.parametrize(
    "disorder",
    [
        {"transaction": True},
        {"atomic": True},
        {"close": True},
        {"settings_of_process": True},
        {"transaction": True, "exit": 3},
    ],
    ids="+".join,
)
def test_nothing_that_a_job_leaves_behind_affects_the_next_job(
    running: Service, disorder: dict[str, Any]
) -> None:
    # All other children are busy, so both runs are executed by the same one.
    others = int(running.variables["WORKER_CONCURRENCY"]) - 1
    busy = [call(running, "allowing", seconds=60) for _ in range(others)]
    for pk in busy:
        wait_for_start(running, pk)
    first = call(running, "leaving", **disorder)
    row = wait_for_end(running, first)
    second = call(running, "leaving")
    assert wait_for_end(running, second).status == "succeeded"
    release(running, *busy)
    code = disorder.get("exit", 0)
    assert (row.status, row.exit_code, row.username) == ("failed" if code else "succeeded", code, "")
    assert state_found_by(running, first) == state_found_by(running, second)


def state_found_by(running: Service, pk: UUID) -> dict[str, Any]:
    """The state in which the job found its process, and the process's id."""
    state: dict[str, Any] = json.loads(output_of(running, pk))
    return state


def test_a_job_that_forks_is_a_single_run_and_leaves_no_second_worker_behind(running: Service) -> None:
    pk = call(running, "lasting", fork=True, seconds=2, tenant="fork")
    mother = wait_for_start(running, pk).pid
    daughter = wait_until(
        lambda: [trace for trace in traces(running, pk, "cleanup") if trace.pid != mother],
        what="the forked process has left the job's code too",
    )[0].pid
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code) == ("succeeded", 0)
    wait_until(lambda: not is_alive(daughter), what="the forked process has ended")
    assert [trace.what for trace in traces(running, pk) if trace.pid == mother] == ["begin", "end", "cleanup"]
    assert [trace.what for trace in traces(running, pk) if trace.pid == daughter] == ["cleanup"]


def test_the_children_of_a_job_that_forks_do_not_inherit_the_heartbeats_connection(running: Service) -> None:
    row = wait_for_end(running, call(running, "forking"))
    assert (row.status, row.error) == ("succeeded", "")


def test_a_job_that_constantly_forks_can_be_cancelled(running: Service) -> None:
    calls = [call(running, "forking", endless=True) for _ in range(3)]
    for pk in calls:
        wait_for_start(running, pk)
        cancel(running, pk)
    for pk in calls:
        assert wait_for_end(running, pk).status == "cancelled"
        assert whats(running, pk) == ["begin", "cleanup"]


def test_sys_exit_sets_the_exit_code(running: Service) -> None:
    row = wait_for_end(running, call(running, "leaving", exit=3))
    assert (row.status, row.exit_code, row.reason, row.error) == ("failed", 3, "exit_code", "")


@pytest.mark.parametrize(
    ("signum", "status", "exit_code", "reason"),
    [(signal.SIGINT, "cancelled", 130, "interrupted"), (signal.SIGTERM, "failed", 143, "signal")],
)
def test_a_signal_on_the_command_line_ends_the_run_with_its_exit_code(
    running: Service, signum: signal.Signals, status: str, exit_code: int, reason: str
) -> None:
    command = from_command_line(running, "lasting", "--tenant", f"signal {signum}", "--seconds", "60")
    pk = run_from_command_line(running, "lasting")
    command.send_signal(signum)
    _, error = command.communicate(timeout=DEADLINE_SECONDS)
    row = wait_for_end(running, pk)
    assert (command.returncode, row.status, row.exit_code) == (exit_code, status, exit_code)
    assert (row.reason, row.reason_details) == (reason, {"signal": signum.name})
    assert "Traceback" not in error
    assert whats(running, pk) == ["begin", "cleanup"]
