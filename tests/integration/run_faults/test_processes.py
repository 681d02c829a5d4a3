"""Workers and their children die or are suspended in the middle of runs."""

import os
import signal
import time

import psutil
import pytest

from tests.integration.faults import is_sqlite, sqlite_locked
from tests.integration.run_faults.workers import (
    LEASE_SECONDS,
    another_worker,
    seconds_between,
    when_begun,
    worker_of,
)
from tests.integration.saying import Say
from tests.integration.service import Service
from tests.integration.survival import (
    attempts_of,
    call,
    call_lasting,
    children_of,
    kill_whole,
    let_end,
    output_of,
    run_row,
    suspended,
    traces,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database


def test_a_killed_child_is_noticed_at_once(running: Service, worker: str, say: Say) -> None:
    pk = call(running, "lasting", seconds=60)
    process = wait_for_start(running, pk).pid
    wait_until(lambda: output_of(running, pk), what="its output is in the database")
    os.kill(process, signal.SIGKILL)
    begin = time.monotonic()
    row = wait_for_end(running, pk)
    noticed = time.monotonic() - begin
    say(f"noticed after {noticed:.2f} s; {row.error!r}")
    assert (row.status, row.reason, row.reason_details) == ("lost", "lost_process", {"worker": row.worker})
    assert "SIGKILL" in row.error
    assert noticed < LEASE_SECONDS
    assert output_of(running, pk) == "working on attempt 1\n"


def test_a_job_that_bears_it_starts_again_after_its_child_was_killed(running: Service, worker: str) -> None:
    pk = call(running, "restarting", seconds=3)
    os.kill(wait_for_start(running, pk).pid, signal.SIGKILL)
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt) == ("succeeded", 2)
    assert [each.status for each in attempts_of(running, pk)] == ["lost"]
    assert whats(running, pk) == ["begin", "begin", "end", "cleanup"]


def test_a_job_that_kills_its_process_each_time_does_not_do_so_for_ever(
    running: Service, worker: str
) -> None:
    pk = call(running, "restarting", seconds=30)
    for attempt in range(1, 5):
        os.kill(wait_for_start(running, pk, attempt=attempt).pid, signal.SIGKILL)
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt) == ("lost", 4)
    assert [each.status for each in attempts_of(running, pk)] == ["lost"] * 3


def test_a_child_that_comes_while_the_database_is_locked_inherits_no_connection(
    running: Service, worker: str
) -> None:
    if not is_sqlite(running):
        pytest.skip("only a SQLite connection does harm in a child")
    process = wait_for_start(running, pk := call(running, "lasting", seconds=60)).pid
    with sqlite_locked(running):
        before = set(children_of(running, worker))
        os.kill(process, signal.SIGKILL)
        new = wait_until(lambda: set(children_of(running, worker)) - before, what="another child")
    assert wait_for_end(running, pk).status == "lost"
    opened = [file.path for pid in new for file in psutil.Process(pid).open_files()]
    assert [path for path in opened if "sqlite" in path] == []


def test_the_loss_of_a_whole_worker_is_found_by_the_lease(running: Service, worker: str, say: Say) -> None:
    lost, again = call_lasting(running, "lasting"), call_lasting(running, "restarting")
    when_begun(running, lost)
    when_begun(running, again)
    kill_whole(running, worker)
    begin = time.monotonic()
    row = wait_for_end(running, lost)
    took = time.monotonic() - begin
    say(f"noticed after {took:.2f} s, the lease is {LEASE_SECONDS} s; {row.reason_details}")
    assert (row.status, row.reason) == ("lost", "lost_heartbeat")
    assert set(row.reason_details) == {"worker", "heartbeat_at"}
    assert row.reason_details["worker"] == row.worker
    assert row.worker.startswith(f"{worker}@here:")
    with another_worker(running) as second, let_end(running, "restarting"):
        row = wait_for_end(running, again)
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    assert [(each.status, worker_of(each)) for each in attempts_of(running, again)] == [("lost", worker)]


def test_a_worker_that_was_suspended_past_its_lease_stops_its_jobs_when_it_wakes(
    running: Service, worker: str, say: Say
) -> None:
    lost, again = call_lasting(running, "lasting"), call_lasting(running, "restarting")
    when_begun(running, lost)
    first = wait_for_start(running, again)
    with suspended(running, worker):
        assert wait_for_end(running, lost).status == "lost"
        with another_worker(running) as second:
            wait_for_start(running, again, attempt=2)
            before = run_row(running, lost)
            os.killpg(running.processes[worker].pid, signal.SIGCONT)
            begin = time.monotonic()
            # The traces of the process that woke: it cleans up, and does not reach its end.
            for pk in lost, again:
                wait_until(
                    lambda pk=pk: [t for t in traces(running, pk, "cleanup") if t.attempt == 1],  # type: ignore[misc]
                    what="the job that woke is stopped",
                )
            stopped = time.monotonic() - begin
            with let_end(running, "restarting"):
                row = wait_for_end(running, again)
    say(f"stopped {stopped:.2f} s after waking")
    assert run_row(running, lost) == before
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    ended = traces(running, again, "end")
    assert [(trace.attempt, trace.pid == first.pid) for trace in ended] == [(2, False)]
    assert whats(running, lost) == ["begin", "cleanup"]


def test_a_machine_that_was_suspended_past_the_lease_goes_on_with_its_runs(
    running: Service, worker: str
) -> None:
    pk = call_lasting(running, "restarting")
    when_begun(running, pk)
    with suspended(running, worker), suspended(running, "beat"):
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() > begin + LEASE_SECONDS * 1.3, what="the lease is over")
    with let_end(running, "restarting"):
        row = wait_for_end(running, pk)
    assert (row.status, row.attempt, whats(running, pk)) == ("succeeded", 1, ["begin", "end", "cleanup"])


def test_the_death_of_a_process_that_lost_its_lease_leaves_the_new_attempt_alone(
    running: Service, worker: str
) -> None:
    pk = call_lasting(running, "restarting")
    first = wait_for_start(running, pk)
    with another_worker(running) as second:
        with suspended(running, worker):
            wait_for_start(running, pk, attempt=2)
            os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: "WorkerLostError" in running.log(worker), what="the worker sees its child's end")
        with let_end(running, "restarting"):
            row = wait_for_end(running, pk)
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    assert len(attempts_of(running, pk)) == 1


def test_a_waiting_run_starts_when_its_holder_was_lost(running: Service, worker: str, say: Say) -> None:
    holder = call(running, "queueing", seconds=60)
    process = wait_for_start(running, holder).pid
    waiting = call(running, "queueing", seconds=0.2)
    wait_for_status(running, waiting, "queued")
    os.kill(process, signal.SIGKILL)
    lost, row = wait_for_end(running, holder), wait_for_end(running, waiting)
    say(f"started {seconds_between(lost.finished_at, row.started_at):.3f} s after the other's loss")
    assert (lost.status, row.status) == ("lost", "succeeded")
