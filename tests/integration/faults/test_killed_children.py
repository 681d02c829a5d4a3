"""A worker's child process is killed in the middle of a run."""

import os
import signal
import time

import psutil
import pytest

from tests.integration.database import is_sqlite, sqlite_locked
from tests.integration.faults.workers import (
    seconds_between,
    start_another,
)
from tests.integration.ledger import (
    attempts_of,
    call,
    call_lasting,
    let_end,
    output_of,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
)
from tests.integration.processes import children_of, kill_whole
from tests.integration.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database


def test_a_killed_child_is_noticed_immediately(running: Service, worker: str) -> None:
    pk = call(running, "lasting", seconds=60)
    process = wait_for_start(running, pk).pid
    wait_until(lambda: output_of(running, pk), what="its output is in the database")
    os.kill(process, signal.SIGKILL)
    begin = time.monotonic()
    row = wait_for_end(running, pk)
    print(f"noticed after {time.monotonic() - begin:.2f} s; {row.error!r}")
    # If its worker had not noticed before the lease ended, it would be lost for another reason.
    assert (row.status, row.reason, row.reason_details) == ("lost", "lost_process", {"worker": row.worker})
    assert "SIGKILL" in row.error
    assert output_of(running, pk) == "working on attempt 1\n"
    assert "WorkerLostError" not in running.log(worker)


def test_a_job_that_bears_it_starts_again_after_its_child_was_killed(running: Service, worker: str) -> None:
    pk = call_lasting(running, "restarting")
    os.kill(wait_for_start(running, pk).pid, signal.SIGKILL)
    wait_for_start(running, pk, attempt=2)
    with let_end(running, "restarting"):
        row = wait_for_end(running, pk)
    assert (row.status, row.attempt) == ("succeeded", 2)
    assert [each.status for each in attempts_of(running, pk)] == ["lost"]
    assert whats(running, pk) == ["begin", "begin", "end", "cleanup"]


def test_a_job_that_always_kills_its_process_is_not_restarted_forever(running: Service, worker: str) -> None:
    pk = call(running, "restarting", seconds=600)
    for attempt in range(1, 5):
        os.kill(wait_for_start(running, pk, attempt=attempt).pid, signal.SIGKILL)
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt) == ("lost", 4)
    assert [each.status for each in attempts_of(running, pk)] == ["lost"] * 3


def test_a_child_started_while_the_database_is_locked_inherits_no_connection(
    running: Service, worker: str
) -> None:
    if not is_sqlite(running):
        pytest.skip("only inherited SQLite connections are harmful")
    process = wait_for_start(running, pk := call(running, "lasting", seconds=60)).pid
    with sqlite_locked(running):
        before = set(children_of(running, worker))
        os.kill(process, signal.SIGKILL)
        new = wait_until(lambda: set(children_of(running, worker)) - before, what="another child")
    assert wait_for_end(running, pk).status == "lost"
    # The dead child's message may be redelivered to the new one, which then opens and closes a connection. An
    # inherited one would never be closed.
    wait_until(lambda: not any(map(has_sqlite_open, new)), what="the child has no connection")


def has_sqlite_open(pid: int) -> bool:
    return any("sqlite" in file.path for file in psutil.Process(pid).open_files())


def test_a_waiting_run_starts_when_its_holder_is_lost(running: Service, worker: str) -> None:
    holder = call(running, "queueing", seconds=60)
    process = wait_for_start(running, holder).pid
    waiting = call(running, "queueing", seconds=0.2)
    wait_for_status(running, waiting, "queued")
    os.kill(process, signal.SIGKILL)
    lost, row = wait_for_end(running, holder), wait_for_end(running, waiting)
    print(f"started {seconds_between(lost.finished_at, row.started_at):.3f} s after the other's loss")
    assert (lost.status, row.status) == ("lost", "succeeded")


def test_children_that_hold_too_much_memory_are_replaced_between_runs_and_no_run_is_lost(
    running: Service, worker: str
) -> None:
    kill_whole(running, worker)
    replacing = start_another(running, WORKER_MAX_MEMORY_MB="1")
    pks = [call(running, "allowing", seconds=0.1) for _ in range(6)]
    rows = [wait_for_end(running, pk) for pk in pks]
    kill_whole(running, replacing)
    assert [(row.status, row.attempt) for row in rows] == [("succeeded", 1)] * 6
    assert len({row.worker for row in rows}) == 6
