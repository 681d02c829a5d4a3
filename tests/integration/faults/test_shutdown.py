"""Workers are shut down."""

import signal
import time

import pytest

from tests.integration.database import rows
from tests.integration.faults.workers import another_worker, start_another, when_begun, worker_of
from tests.integration.ledger import (
    attempts_of,
    call,
    call_lasting,
    cancel,
    enqueue,
    let_end,
    wait_for_end,
    wait_for_status,
    whats,
)
from tests.integration.processes import kill_whole
from tests.integration.service import Service
from tests.waiting import wait_until


def test_a_worker_that_shuts_down_lets_its_runs_finish_and_leaves_no_temporary_files(
    running: Service, worker: str
) -> None:
    kill_whole(running, worker)
    temporary = running.folder / "tmp of the last worker"
    temporary.mkdir()
    name = start_another(running, SHUTDOWN_GRACE_SECONDS="60", TMPDIR=str(temporary))
    pk = call(running, "lasting", seconds=3)
    when_begun(running, pk)
    assert running.stop(name, signal.SIGTERM) == 0
    row = wait_for_end(running, pk)
    assert (row.status, whats(running, pk)) == ("succeeded", ["begin", "end", "cleanup"])
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    "signals",
    [
        (signal.SIGTERM,),
        (signal.SIGTERM, signal.SIGQUIT),
        (signal.SIGQUIT,),
        (signal.SIGQUIT, signal.SIGQUIT),
        (signal.SIGINT, signal.SIGINT),
    ],
    ids=lambda signals: "+".join(each.name for each in signals),
)
def test_a_worker_that_is_told_to_end_says_goodbye_whatever_the_signal(
    running: Service, worker: str, signals: tuple[signal.Signals, ...]
) -> None:
    pk = call(running, "lasting", seconds=60)
    when_begun(running, pk)
    for each in signals[:-1]:
        running.processes[worker].send_signal(each)
        wait_until(lambda: "shutdown (MainProcess)" in running.log(worker), what="it begins to shut down")
    running.stop(worker, signals[-1])
    # Another test may have killed a process of this name before, which said nothing.
    left = "SELECT ended_at IS NOT NULL FROM jobledger_serviceprocess WHERE name = ? ORDER BY started_at DESC"
    assert rows(running, left, f"{worker}@here")[0] == (True,)
    row = wait_for_end(running, pk)
    print(f"its run: {row.status}, {row.reason}")


def test_runs_that_cannot_finish_in_time_are_cancelled_and_restart_if_allowed(
    running: Service, worker: str
) -> None:
    # The second one does not even stop when it is interrupted.
    over = call(running, "lasting", seconds=60)
    when_begun(running, over)
    again = call_lasting(running, "restarting", stubborn=True)
    when_begun(running, again)
    begin = time.monotonic()
    running.stop(worker, signal.SIGTERM)
    took = time.monotonic() - begin
    row = wait_for_end(running, over)
    facts = {"worker": f"{worker}@here"}
    assert (row.status, row.reason, row.reason_details) == ("cancelled", "worker_shutdown", facts)
    assert whats(running, over) == ["begin", "cleanup"]
    with another_worker(running) as second, let_end(running, "restarting"):
        row = wait_for_end(running, again)
    print(f"the worker was gone after {took:.1f} s, its grace is 1 s and that of the stubborn job 2 s")
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    ended = [(each.status, each.reason) for each in attempts_of(running, again)]
    assert ended == [("cancelled", "worker_shutdown")]


def test_without_a_worker_a_run_waits_and_can_be_cancelled(running: Service, worker: str) -> None:
    kill_whole(running, worker)
    (pk,) = enqueue(running, "lasting", seconds=0.1)
    assert wait_for_status(running, pk, "queued").attempt == 1
    cancel(running, pk)
    with another_worker(running) as name:
        wait_until(lambda: f"A message of run {pk} of" in running.log(name), what="its message is dropped")
    assert (wait_for_end(running, pk).status, whats(running, pk)) == ("cancelled", [])
