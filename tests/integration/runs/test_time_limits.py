"""Time limits with a real worker: soft, then hard, without affecting other jobs."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.command_line import from_command_line, newest_from_command_line, run_from_command_line
from tests.integration.ledger import (
    call,
    call_lasting,
    let_end,
    traces,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
)
from tests.integration.processes import is_alive
from tests.integration.service import Service
from tests.waiting import DEADLINE_SECONDS, wait_until


@contextmanager
def unaffected_run(running: Service, **options: str) -> Iterator[None]:
    """A run of the same worker that continues in the same process, whatever happens inside the block."""
    other = call_lasting(running, "lasting", **options)
    process = wait_for_start(running, other).pid
    yield
    assert is_alive(process)
    assert wait_for_status(running, other, "running").attempt == 1
    with let_end(running, "lasting"):
        assert wait_for_end(running, other).status == "succeeded"
    assert [(trace.what, trace.pid) for trace in traces(running, other)] == [
        ("begin", process),
        ("end", process),
        ("cleanup", process),
    ]


def test_a_run_that_exceeds_its_time_limit_is_interrupted(running: Service) -> None:
    pk = call(running, "limited", seconds=60, tenant="soft")
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert whats(running, pk) == ["begin", "cleanup"]
    assert row.finished_at
    assert row.started_at
    took = (row.finished_at - row.started_at).total_seconds()
    print(f"limit 5 s, ended after {took:.2f} s")


def test_a_run_that_does_not_stop_at_its_time_limit_is_killed_and_no_other_is(running: Service) -> None:
    with unaffected_run(running, tenant="beside the stubborn one"):
        pk = call(running, "limited", seconds=60, tenant="hard", stubborn=True)
        process = wait_for_start(running, pk).pid
        row = wait_for_end(running, pk)
        wait_until(lambda: not is_alive(process), what="its process is gone")
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert (row.reason, row.reason_details) == ("time_limit", {"limit_seconds": 5.0, "killed_by": "itself"})
    assert whats(running, pk) == ["begin"]
    assert row.finished_at
    assert row.started_at
    print(f"limit 5 s, grace 2 s, ended after {(row.finished_at - row.started_at).total_seconds():.2f} s")


def test_a_job_stuck_in_c_code_is_killed_by_the_worker(running: Service) -> None:
    with unaffected_run(running, tenant="beside the one in C"):
        pk = call(running, "limited", tenant="C", hold_gil=True, subprocess=True)
        process = wait_for_start(running, pk).pid
        (child,) = wait_until(lambda: traces(running, pk, "child="))
        row = wait_for_end(running, pk)
        wait_until(lambda: not is_alive(process), what="its process is gone")
        wait_until(lambda: not is_alive(int(child.what.partition("=")[2])), what="its subprocess is gone")
    assert row.status == "timed_out"
    assert row.finished_at
    assert row.started_at
    print(f"limit 5 s, grace 2 s, ended after {(row.finished_at - row.started_at).total_seconds():.2f} s")


def test_on_the_command_line_a_timed_out_run_exits_like_timeout(running: Service) -> None:
    done = running.manage("limited", "--seconds", "60", "--tenant", "by hand")
    assert done.returncode == 124
    assert done.stderr.splitlines() == ["The run exceeded its time limit of 5 s."]
    pk = newest_from_command_line(running, "limited")
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert whats(running, pk) == ["begin", "cleanup"]


def test_on_the_command_line_a_run_that_does_not_stop_is_killed_and_recorded(running: Service) -> None:
    command = from_command_line(
        running, "limited", "--seconds", "60", "--tenant", "hard by command", "--stubborn"
    )
    pk = run_from_command_line(running, "limited")
    command.communicate(timeout=DEADLINE_SECONDS)
    row = wait_for_end(running, pk)
    assert (command.returncode, row.status, row.exit_code) == (-signal.SIGKILL, "timed_out", 124)
    assert (row.reason, row.reason_details) == ("time_limit", {"limit_seconds": 5.0, "killed_by": "itself"})
    assert whats(running, pk) == ["begin"]
