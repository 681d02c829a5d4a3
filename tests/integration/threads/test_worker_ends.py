"""Workers with threads are shut down, and killed: nothing is lost, and nothing is executed twice."""

import signal
import time
from uuid import UUID

from tests.integration.faults.workers import worker_of
from tests.integration.ledger import (
    attempts_of,
    call,
    call_lasting,
    let_end,
    output_of,
    run_row,
    wait_for_end,
    wait_for_start,
    whats,
)
from tests.integration.processes import kill_whole
from tests.integration.service import Service
from tests.integration.threads.workers import end_file, start_threads
from tests.probes.management.commands.lasting import THREAD_SECONDS


def test_a_warm_shutdown_waits_for_jobs(running: Service, worker: str) -> None:
    kill_whole(running, worker)
    name = start_threads(running, SHUTDOWN_GRACE_SECONDS="60")
    pk = call(running, "lasting", seconds=3)
    wait_for_start(running, pk)
    assert running.stop(name) == 0
    row = wait_for_end(running, pk)
    assert (row.status, whats(running, pk)) == ("succeeded", ["begin", "end", "cleanup"])


def test_jobs_that_cannot_finish_in_time_are_cancelled_and_restart_if_allowed(
    running: Service, worker: str
) -> None:
    with end_file(running, "never in time") as go:
        over = call(running, "waiting", until=str(go))
        wait_for_start(running, over)
        again = call_lasting(running, "restarting")
        wait_for_start(running, again)
        assert running.stop(worker) == 0
        row = wait_for_end(running, over)
    assert (row.status, row.reason) == ("cancelled", "worker_shutdown")
    assert row.reason_details == {"worker": f"{worker}@here"}
    assert whats(running, over) == ["begin", "cleanup"]
    assert_restarts_elsewhere(running, again)


def assert_restarts_elsewhere(running: Service, pk: UUID) -> None:
    second = start_threads(running)
    with let_end(running, "restarting"):
        row = wait_for_end(running, pk)
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    ended = [(each.status, each.reason) for each in attempts_of(running, pk)]
    assert ended == [("cancelled", "worker_shutdown")]


def test_a_worker_does_not_wait_forever_for_a_thread_that_does_not_end(running: Service, worker: str) -> None:
    pk = call(running, "lasting", seconds=600, stubborn=True)
    wait_for_start(running, pk)
    begin = time.monotonic()
    assert running.stop(worker) == 0
    print(f"the worker was gone after {time.monotonic() - begin:.1f} s, the job's grace is 2 s")
    row = wait_for_end(running, pk)
    assert (row.status, row.reason, row.exit_code) == ("cancelled", "worker_shutdown", 130)
    assert row.reason_details["killed_by"] == "itself"
    assert "working on attempt 1" in output_of(running, pk)


def test_a_cold_shutdown_ends_jobs_at_once(running: Service, worker: str) -> None:
    with end_file(running, "not before it") as go:
        pk = call(running, "waiting", until=str(go))
        wait_for_start(running, pk)
        isolated = call(running, "isolated", seconds=600)
        wait_for_start(running, isolated)
        running.stop(worker, signal.SIGQUIT)
        row = wait_for_end(running, pk)
    assert (row.status, row.reason) == ("cancelled", "worker_shutdown")
    assert whats(running, pk) == ["begin", "cleanup"]
    ended = wait_for_end(running, isolated)
    assert (ended.status, ended.reason) == ("cancelled", "worker_shutdown")


def test_a_cold_shutdown_records_the_ends_of_jobs_that_do_not_end_and_waits_for_no_thread(
    running: Service, worker: str
) -> None:
    pk = call(running, "lasting", seconds=600, stubborn=True, thread=True, tenant="cold")
    wait_for_start(running, pk)
    again = call_lasting(running, "restarting", stubborn=True, tenant="cold")
    wait_for_start(running, again)
    begin = time.monotonic()
    assert running.stop(worker, signal.SIGQUIT) == 0
    assert time.monotonic() - begin < THREAD_SECONDS / 2
    row = run_row(running, pk)
    assert row
    assert (row.status, row.reason, row.exit_code) == ("cancelled", "worker_shutdown", 130)
    assert row.reason_details["killed_by"] == "itself"
    assert_restarts_elsewhere(running, again)


def test_the_jobs_of_a_worker_that_is_killed_are_lost_or_restart(running: Service, worker: str) -> None:
    with end_file(running, "not any more") as go:
        lost = [call(running, "waiting", until=str(go)) for _ in range(5)]
        again = [call_lasting(running, "restarting", tenant=f"killed {number}") for number in range(5)]
        for pk in (*lost, *again):
            wait_for_start(running, pk)
        kill_whole(running, worker)
        second = start_threads(running)
        rows = [wait_for_end(running, pk) for pk in lost]
    assert {(row.status, row.attempt) for row in rows} == {("lost", 1)}
    with let_end(running, "restarting"):
        rows = [wait_for_end(running, pk) for pk in again]
    assert {(row.status, row.attempt, worker_of(row)) for row in rows} == {("succeeded", 2, second)}
