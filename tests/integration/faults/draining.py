"""A worker is drained while others go on, as before its node is taken away, or replaced by a new version."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID, uuid4

from tests.integration.brokers import Broker
from tests.integration.faults.workers import another_worker, start_another, when_begun, worker_of
from tests.integration.ledger import call, enqueue, traces, wait_for_end
from tests.integration.processes import kill_whole
from tests.integration.service import Service
from tests.waiting import DEADLINE_SECONDS, wait_until

PROCESSES = 2
"""Of each worker."""
PATIENT = {"SHUTDOWN_GRACE_SECONDS": "60"}
ROUNDS, RUNS_PER_ROUND = max(1, int(os.environ.get("FAULT_SECONDS", "8")) // 8), 12


def drain_one_of_two(running: Service, broker: Broker, worker: str) -> None:
    """What waits goes to the other worker, while the drained one finishes what it has."""
    kill_whole(running, worker)
    drained = start_another(running, **PATIENT)
    with another_worker(running) as other:
        held = occupy(running, workers=2)
        by_worker = {pk: worker_of(when_begun(running, pk)) for pk in held}
        assert Counter(by_worker.values()) == {drained: PROCESSES, other: PROCESSES}
        waiting = [*enqueue(running, "allowing", count=4, seconds=0.1)]
        waiting += [call(running, "allowing", seconds=0.1) for _ in range(4)]
        # Neither worker holds more than it executes.
        wait_until(lambda: broker.has_waiting(waiting), what="workers hold none of these")
        running.processes[drained].send_signal(signal.SIGTERM)
        wait_until(lambda: "Warm shutdown" in running.log(drained), what="it is being drained")
        release([end for pk, end in held.items() if by_worker[pk] == other])
        rows = [wait_for_end(running, pk) for pk in waiting]
        assert {(row.status, row.attempt, worker_of(row)) for row in rows} == {("succeeded", 1, other)}
        assert running.is_running(drained)
        release(held.values())
        assert running.processes.pop(drained).wait(DEADLINE_SECONDS) == 0
        rows = [wait_for_end(running, pk) for pk in held]
    assert {(row.status, row.attempt, worker_of(row) == by_worker[row.pk]) for row in rows} == {
        ("succeeded", 1, True)
    }
    assert executions(running, *held, *waiting) == {1}


def replace_under_load(running: Service, worker: str) -> None:
    """Workers replace each other, and neither lose nor double a run."""
    kill_whole(running, worker)
    old, started = start_another(running, **PATIENT), list[UUID]()
    for _ in range(ROUNDS):
        new = start_another(running, **PATIENT)
        started += enqueue(running, "allowing", count=RUNS_PER_ROUND, seconds=0.3)
        started += [call(running, "allowing", seconds=0.3) for _ in range(RUNS_PER_ROUND)]
        wait_until(lambda: traces(running, what="begin"), what="a run has begun")
        # At any moment: while messages are received, are handed to a process, or are acknowledged.
        time.sleep(random.uniform(0, 1))
        assert running.stop(old, signal.SIGTERM) == 0
        old = new
    rows = [wait_for_end(running, pk) for pk in started]
    print(f"executed by {dict(Counter(map(worker_of, rows)))}")
    assert {(row.status, row.attempt) for row in rows} == {("succeeded", 1)}
    assert executions(running, *started) == {1}


def occupy(running: Service, *, workers: int) -> dict[UUID, Path]:
    """Give each process of the workers a run; returns them, by the file whose creation ends the run."""
    ends = {uuid4(): running.folder / f"end {number}" for number in range(PROCESSES * workers)}
    for pk, end in ends.items():
        call(running, "allowing", task_id=pk, seconds=600, until=str(end))
    for pk in ends:
        when_begun(running, pk)
    return ends


def release(ends: Iterable[Path]) -> None:
    for end in ends:
        end.touch()


def executions(running: Service, *pks: UUID) -> set[int]:
    """How many times each of the runs was executed."""
    return {len(traces(running, pk, "begin")) for pk in pks}
