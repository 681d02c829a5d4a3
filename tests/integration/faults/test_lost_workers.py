"""A worker with all its children is killed, or suspended for longer than the lease of its runs."""

import os
import signal
import time

import pytest

from tests.integration.faults.workers import (
    LEASE_SECONDS,
    another_worker,
    when_begun,
    worker_of,
)
from tests.integration.ledger import (
    attempts_of,
    call_lasting,
    let_end,
    run_row,
    traces,
    wait_for_end,
    wait_for_start,
    whats,
)
from tests.integration.processes import kill_whole, resume, suspended
from tests.integration.service import Service
from tests.waiting import wait_until

pytestmark = [pytest.mark.every_database, pytest.mark.takes_long]


def test_the_loss_of_a_worker_is_detected_by_the_lease(running: Service, worker: str) -> None:
    lost, again = call_lasting(running, "lasting"), call_lasting(running, "restarting")
    when_begun(running, lost)
    when_begun(running, again)
    kill_whole(running, worker)
    begin = time.monotonic()
    row = wait_for_end(running, lost)
    took = time.monotonic() - begin
    print(f"noticed after {took:.2f} s, the lease is {LEASE_SECONDS} s; {row.reason_details}")
    assert (row.status, row.reason) == ("lost", "lost_heartbeat")
    assert set(row.reason_details) == {"worker", "heartbeat_at"}
    assert row.reason_details["worker"] == row.worker
    assert row.worker.startswith(f"{worker}@here:")
    with another_worker(running) as second, let_end(running, "restarting"):
        row = wait_for_end(running, again)
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    assert [(each.status, worker_of(each)) for each in attempts_of(running, again)] == [("lost", worker)]


def test_a_worker_that_was_suspended_for_longer_than_the_lease_stops_its_jobs_when_it_resumes(
    running: Service, worker: str
) -> None:
    lost, again = call_lasting(running, "lasting"), call_lasting(running, "restarting")
    when_begun(running, lost)
    first = wait_for_start(running, again)
    with suspended(running, worker):
        assert wait_for_end(running, lost).status == "lost"
        with another_worker(running) as second:
            wait_for_start(running, again, attempt=2)
            before = run_row(running, lost)
            resume(running, worker)
            begin = time.monotonic()
            # Traces of the resumed process: it cleans up, and does not reach its end.
            for pk in lost, again:
                wait_until(
                    lambda pk=pk: [t for t in traces(running, pk, "cleanup") if t.attempt == 1],  # type: ignore[misc]
                    what="the resumed job is stopped",
                )
            stopped = time.monotonic() - begin
            with let_end(running, "restarting"):
                row = wait_for_end(running, again)
    print(f"stopped {stopped:.2f} s after waking")
    assert run_row(running, lost) == before
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    ended = traces(running, again, "end")
    assert [(trace.attempt, trace.pid == first.pid) for trace in ended] == [(2, False)]
    assert whats(running, lost) == ["begin", "cleanup"]


def test_a_machine_that_was_suspended_for_longer_than_the_lease_continues_its_runs(
    running: Service, worker: str
) -> None:
    pk = call_lasting(running, "restarting")
    when_begun(running, pk)
    with suspended(running, worker), suspended(running, "beat"):
        begin = time.monotonic()
        wait_until(lambda: time.monotonic() > begin + LEASE_SECONDS * 1.3, what="the lease has ended")
    with let_end(running, "restarting"):
        row = wait_for_end(running, pk)
    assert (row.status, row.attempt, whats(running, pk)) == ("succeeded", 1, ["begin", "end", "cleanup"])


def test_the_death_of_a_process_that_lost_its_lease_does_not_affect_the_new_attempt(
    running: Service, worker: str
) -> None:
    pk = call_lasting(running, "restarting")
    first = wait_for_start(running, pk)
    with another_worker(running) as second:
        with suspended(running, worker):
            wait_for_start(running, pk, attempt=2)
            os.kill(first.pid, signal.SIGKILL)
        wait_until(
            lambda: f"has died; run {pk} no longer belonged to it" in running.log(worker),
            what="the worker notices the death of its child",
        )
        with let_end(running, "restarting"):
            row = wait_for_end(running, pk)
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    assert len(attempts_of(running, pk)) == 1
