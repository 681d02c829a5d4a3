"""Time limits with a real worker: softly first, then hard, and no other job is hit."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.command_line import by_hand, newest_by_hand, run_by_hand
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
def unharmed(running: Service, **options: str) -> Iterator[None]:
    """A run of the same worker that goes on beside what happens inside the block, in the same process."""
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


def test_a_run_over_its_time_limit_ends_softly(running: Service) -> None:
    pk = call(running, "limited", seconds=60, tenant="soft")
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert whats(running, pk) == ["begin", "cleanup"]
    assert row.finished_at
    assert row.started_at
    took = (row.finished_at - row.started_at).total_seconds()
    print(f"limit 2 s, ended after {took:.2f} s")


def test_a_stubborn_run_over_its_time_limit_is_killed_and_no_other(running: Service) -> None:
    with unharmed(running, tenant="beside the stubborn one"):
        pk = call(running, "limited", seconds=60, tenant="hard", stubborn=True)
        process = wait_for_start(running, pk).pid
        row = wait_for_end(running, pk)
        wait_until(lambda: not is_alive(process), what="its process is gone")
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert (row.reason, row.reason_details) == ("time_limit", {"limit_seconds": 2.0, "killed_by": "itself"})
    assert whats(running, pk) == ["begin"]
    assert row.finished_at
    assert row.started_at
    print(f"limit 2 s, grace 2 s, ended after {(row.finished_at - row.started_at).total_seconds():.2f} s")


def test_a_job_stuck_in_c_code_is_ended_by_the_worker(running: Service) -> None:
    with unharmed(running, tenant="beside the one in C"):
        pk = call(running, "limited", tenant="C", hold_gil=True)
        process = wait_for_start(running, pk).pid
        row = wait_for_end(running, pk)
        wait_until(lambda: not is_alive(process), what="its process is gone")
    assert row.status == "timed_out"
    assert row.finished_at
    assert row.started_at
    print(f"limit 2 s, grace 2 s, ended after {(row.finished_at - row.started_at).total_seconds():.2f} s")


def test_the_time_limit_holds_by_hand_with_timeouts_exit_code(running: Service) -> None:
    done = running.manage("limited", "--seconds", "60", "--tenant", "by hand")
    assert done.returncode == 124
    assert done.stderr.splitlines() == ["The run exceeded its time limit of 2 s."]
    pk = newest_by_hand(running, "limited")
    row = wait_for_end(running, pk)
    assert (row.status, row.exit_code) == ("timed_out", 124)
    assert whats(running, pk) == ["begin", "cleanup"]


def test_by_hand_a_stubborn_run_over_its_time_limit_is_killed_and_on_record(running: Service) -> None:
    hand = by_hand(running, "limited", "--seconds", "60", "--tenant", "hard by hand", "--stubborn")
    pk = run_by_hand(running, "limited")
    hand.communicate(timeout=DEADLINE_SECONDS)
    row = wait_for_end(running, pk)
    assert (hand.returncode, row.status, row.exit_code) == (-signal.SIGKILL, "timed_out", 124)
    assert (row.reason, row.reason_details) == ("time_limit", {"limit_seconds": 2.0, "killed_by": "itself"})
    assert whats(running, pk) == ["begin"]
