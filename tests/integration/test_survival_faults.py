"""Workers, Redis and the database die, hang and come back in the middle of runs: none is lost in silence,
none is executed twice unless its job bears that.

Each test says its figures, and so does the audit of all runs at the end.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

import pytest

from tests.integration.faults import database_away, is_sqlite, sqlite_locked
from tests.integration.service import Service, service
from tests.integration.survival import (
    Attempt,
    RunRow,
    attempts_of,
    audit,
    call,
    cancel,
    children_of,
    enqueue,
    forget_restoring_lock,
    is_alive,
    is_quiet,
    kill_whole,
    output_of,
    release,
    run_row,
    suspended,
    traces,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
    wipe_redis,
)
from tests.waiting import wait_until

# Celery looks for dead children every five seconds.
LEASE_SECONDS = 7.0
VISIBILITY_SECONDS = 4
QUICK = {
    "HEARTBEAT_SECONDS": "0.3",
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "REPUBLISH_AFTER_SECONDS": "2",
    "VISIBILITY_TIMEOUT": str(VISIBILITY_SECONDS),
    "SHUTDOWN_GRACE_SECONDS": "1",
    "WORKER_CONCURRENCY": "2",
}
CHAOS_SECONDS = int(os.environ.get("FAULT_SECONDS", "8"))
CHAOS_RUNS = 12

Say = Callable[[str], None]

worker_numbers = count(1)


@pytest.fixture(scope="module")
def say_always(request: pytest.FixtureRequest) -> Say:
    """Print past pytest's capturing: the figures of a test that passed are wanted as well."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")

    def printed(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"\n{text}")

    return printed


@pytest.fixture
def say(say_always: Say, request: pytest.FixtureRequest) -> Say:
    return lambda text: say_always(f"{request.node.name}: {text}")


@pytest.fixture(scope="module")
def running(say_always: Say) -> Iterator[Service]:
    """A service with a beat; at the end all its runs are accounted for."""
    with service(**QUICK) as started:
        started.start_beat()
        yield started
        # For what is still queued.
        start_another(started)
        wait_until(lambda: is_quiet(started), deadline_seconds=60, what="every run is over")
        figures = audit(started)
        say_always(f"audit of {__name__}: {figures}")
        assert figures.is_clean


@pytest.fixture
def worker(running: Service) -> str:
    """The name of the one worker, which may be killed: the next test then gets another one."""
    alive = [name for name in running.processes if name.startswith("worker") and running.is_running(name)]
    if alive:
        return alive[0]
    return start_another(running)


def start_another(running: Service) -> str:
    name = f"worker{next(worker_numbers)}"
    running.start_worker(name)
    return name


@contextmanager
def another_worker(running: Service) -> Iterator[str]:
    name = start_another(running)
    try:
        yield name
    finally:
        if name in running.processes:
            kill_whole(running, name)


def seconds_between(earlier: datetime | None, later: datetime | None) -> float:
    assert earlier
    assert later
    return (later - earlier).total_seconds()


def worker_of(row: RunRow | Attempt) -> str:
    """The name of the worker that executed it."""
    return row.worker.partition("@")[0]


def when_begun(running: Service, pk: UUID) -> RunRow:
    """The row of a run that is in the middle of its work."""
    wait_for_start(running, pk)
    return wait_for_status(running, pk, "running")


# --- Processes die


def test_a_killed_child_is_noticed_at_once(running: Service, worker: str, say: Say) -> None:
    pk = call(running, "lasting", seconds=60)
    process = wait_for_start(running, pk).pid
    wait_until(lambda: output_of(running, pk), what="its output is in the database")
    os.kill(process, signal.SIGKILL)
    begin = time.monotonic()
    row = wait_for_end(running, pk)
    noticed = time.monotonic() - begin
    say(f"noticed after {noticed:.2f} s; {row.error!r}")
    assert row.status == "lost"
    assert row.error.startswith("Its process died: ")
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


def test_the_loss_of_a_whole_worker_is_found_by_the_lease(running: Service, worker: str, say: Say) -> None:
    lost, again = call(running, "lasting", seconds=3), call(running, "restarting", seconds=3)
    when_begun(running, lost)
    when_begun(running, again)
    kill_whole(running, worker)
    begin = time.monotonic()
    row = wait_for_end(running, lost)
    say(f"noticed after {time.monotonic() - begin:.2f} s, the lease is {LEASE_SECONDS} s; {row.error!r}")
    assert row.status == "lost"
    assert f"({row.worker}) was last heard of at" in row.error
    assert row.worker.startswith(f"{worker}@here:")
    with another_worker(running) as second:
        row = wait_for_end(running, again)
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    assert [(each.status, worker_of(each)) for each in attempts_of(running, again)] == [("lost", worker)]


def test_a_worker_that_was_suspended_past_its_lease_stops_its_jobs_when_it_wakes(
    running: Service, worker: str, say: Say
) -> None:
    lost, again = call(running, "lasting", seconds=4), call(running, "restarting", seconds=4)
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
            row = wait_for_end(running, again)
    say(f"stopped {stopped:.2f} s after waking")
    assert run_row(running, lost) == before
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    ended = traces(running, again, "end")
    assert [(trace.attempt, trace.pid == first.pid) for trace in ended] == [(2, False)]
    assert whats(running, lost) == ["begin", "cleanup"]


def test_the_death_of_a_process_that_lost_its_lease_leaves_the_new_attempt_alone(
    running: Service, worker: str
) -> None:
    pk = call(running, "restarting", seconds=6)
    first = wait_for_start(running, pk)
    with another_worker(running) as second:
        with suspended(running, worker):
            wait_for_start(running, pk, attempt=2)
            os.kill(first.pid, signal.SIGKILL)
        wait_until(lambda: "WorkerLostError" in running.log(worker), what="the worker sees its child's end")
        row = wait_for_end(running, pk)
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    assert len(attempts_of(running, pk)) == 1


# --- Redis


def test_runs_outlive_a_redis_that_is_killed_and_started_again(
    running: Service, worker: str, say: Say
) -> None:
    busy = [call(running, "allowing", seconds=5) for _ in range(2)]
    for pk in busy:
        wait_for_start(running, pk)
    waiting = enqueue(running, "allowing", count=5, seconds=0.1)
    running.stop("redis", signal.SIGKILL)
    # In the meantime nothing can be published either.
    time.sleep(1)
    running.start_redis()
    begin = time.monotonic()
    ended = Counter(wait_for_end(running, pk).status for pk in (*busy, *waiting))
    say(f"{dict(ended)}, all over {time.monotonic() - begin:.1f} s after Redis' return")
    assert ended == {"succeeded": 7}
    assert [whats(running, pk).count("begin") for pk in (*busy, *waiting)] == [1] * 7


def test_what_was_queued_when_redis_was_wiped_is_published_again(
    running: Service, worker: str, say: Say
) -> None:
    busy = [call(running, "allowing", seconds=60) for _ in range(2)]
    for pk in busy:
        wait_for_start(running, pk)
    waiting = enqueue(running, "allowing", count=20, seconds=0.1)
    wiped = wipe_redis(running)
    release(running, *busy)
    begin = time.monotonic()
    ended = Counter(wait_for_end(running, pk).status for pk in waiting)
    say(f"{wiped} messages wiped, {dict(ended)} after {time.monotonic() - begin:.1f} s")
    assert wiped == len(waiting)
    assert ended == {"succeeded": 20}
    assert [whats(running, pk).count("begin") for pk in waiting] == [1] * 20


def test_a_message_that_is_delivered_again_and_again_executes_once(running: Service, worker: str) -> None:
    pk = call(running, "lasting", seconds=2)
    for _ in range(3):
        call(running, "lasting", task_id=pk, seconds=2)
    assert wait_for_end(running, pk).status == "succeeded"
    call(running, "lasting", task_id=pk, seconds=2)
    wait_until(lambda: running.log(worker).count(f"[{pk}] ignored") >= 4, what="four copies are dropped")
    assert whats(running, pk) == ["begin", "end", "cleanup"]


def test_a_job_longer_than_the_visibility_timeout_executes_once(
    running: Service, worker: str, say: Say
) -> None:
    pk = call(running, "lasting", seconds=VISIBILITY_SECONDS + 8)
    started = wait_for_status(running, pk, "running").started_at
    wait_until(lambda: seconds_between(started, datetime.now(UTC)) > VISIBILITY_SECONDS, what="it is overdue")
    # A worker gives back what is overdue when it starts, unless one that was killed in doing so holds a lock.
    forget_restoring_lock(running)
    with another_worker(running) as second:
        logs = (worker, second)
        row = wait_for_end(running, pk)
        deliveries = sum(running.log(name).count(f"[{pk}] received") for name in logs)
    say(f"visibility timeout {VISIBILITY_SECONDS} s: delivered {deliveries} times, {row.status}")
    assert deliveries > 1
    assert (row.status, whats(running, pk)) == ("succeeded", ["begin", "end", "cleanup"])


# --- The database


@contextmanager
def database_gone(running: Service) -> Iterator[None]:
    """On PostgreSQL no connection works, old or new, as while the server restarts; SQLite is locked."""
    with sqlite_locked(running) if is_sqlite(running) else database_away(running):
        yield


def test_a_run_goes_on_without_the_database_and_ends_properly(
    running: Service, worker: str, say: Say
) -> None:
    pk = call(running, "lasting", seconds=6)
    when_begun(running, pk)
    with database_gone(running):
        # An outage has a length.
        time.sleep(LEASE_SECONDS / 3)
    row = wait_for_end(running, pk)
    say(f"{row.status} after an outage of {LEASE_SECONDS / 3:.1f} s in its middle")
    assert (row.status, row.attempt) == ("succeeded", 1)
    assert (row.progress_total, output_of(running, pk)) == (60, "working on attempt 1\n")
    assert whats(running, pk) == ["begin", "end", "cleanup"]


def test_a_run_whose_end_falls_into_an_outage_is_recorded_when_it_is_over(
    running: Service, worker: str, say: Say
) -> None:
    pk = call(running, "lasting", seconds=2)
    when_begun(running, pk)
    with database_gone(running):
        wait_until(lambda: traces(running, pk, "cleanup"), what="the job has ended")
        time.sleep(LEASE_SECONDS / 4)
    begin = time.monotonic()
    row = wait_for_end(running, pk)
    say(f"{row.status}, {time.monotonic() - begin:.2f} s after the outage's end")
    assert (row.status, row.attempt, row.exit_code) == ("succeeded", 1, 0)


def test_a_worker_notices_a_killed_child_also_after_an_outage(running: Service, worker: str) -> None:
    # The loss of the first one makes the main process connect to the database.
    for outage in True, False:
        pk = call(running, "lasting", seconds=60)
        os.kill(wait_for_start(running, pk).pid, signal.SIGKILL)
        row = wait_for_end(running, pk)
        assert row.error.startswith("Its process died: ")
        if outage:
            with database_gone(running):
                time.sleep(0.5)


# --- Shutdown


def test_a_worker_that_is_told_to_stop_lets_its_runs_finish(running: Service, worker: str) -> None:
    kill_whole(running, worker)
    before = dict(running.variables)
    running.variables["SHUTDOWN_GRACE_SECONDS"] = "30"
    try:
        name = start_another(running)
    finally:
        running.variables.update(before)
    pk = call(running, "lasting", seconds=3)
    when_begun(running, pk)
    assert running.stop(name, signal.SIGTERM) == 0
    row = wait_for_end(running, pk)
    assert (row.status, whats(running, pk)) == ("succeeded", ["begin", "end", "cleanup"])


def test_what_cannot_finish_in_time_is_cancelled_and_starts_again_if_it_may(
    running: Service, worker: str, say: Say
) -> None:
    # The second of them does not even end when it is asked to.
    over = call(running, "lasting", seconds=60)
    when_begun(running, over)
    again = call(running, "restarting", seconds=4, stubborn=True)
    when_begun(running, again)
    begin = time.monotonic()
    running.stop(worker, signal.SIGTERM)
    took = time.monotonic() - begin
    row = wait_for_end(running, over)
    assert (row.status, row.cancelled_by) == ("cancelled", "the worker's shutdown")
    assert row.error == "Cancelled by the worker's shutdown."
    assert whats(running, over) == ["begin", "cleanup"]
    with another_worker(running) as second:
        row = wait_for_end(running, again)
    say(f"the worker was gone after {took:.1f} s, its grace is 1 s and that of the stubborn job 2 s")
    assert (row.status, row.attempt, worker_of(row)) == ("succeeded", 2, second)
    assert [each.status for each in attempts_of(running, again)] == ["cancelled"]


# --- All at once


@pytest.mark.timeout(CHAOS_SECONDS + 180)
def test_children_workers_and_redis_are_killed_at_random_and_every_run_is_accounted_for(
    running: Service, worker: str, say: Say
) -> None:
    pks = enqueue(running, "restarting", count=CHAOS_RUNS, seconds=1, tenant="")
    pks += [call(running, "restarting", seconds=1, tenant=f"tenant {n}") for n in range(CHAOS_RUNS)]
    pks += [call(running, "allowing", seconds=1) for _ in range(CHAOS_RUNS)]
    wait_until(lambda: traces(running, what="begin"), what="a run starts")
    kills: Counter[str] = Counter()
    end = time.monotonic() + CHAOS_SECONDS
    while time.monotonic() < end:
        # Chaos has a pace, and waits for nothing.
        time.sleep(random.uniform(0.3, 1.5))
        victim = random.choice(["child", "child", "redis", "worker"])
        kills[victim] += kill_one(running, worker, victim)
        kills["ended by itself"] += bring_back(running, worker)
    wait_until(
        lambda: not bring_back(running, worker) and is_quiet(running),
        deadline_seconds=120,
        what="every run is over",
    )
    ended = Counter(wait_for_end(running, pk).status for pk in pks)
    say(f"{dict(ended)}; killed: {dict(kills)}")
    assert ended.total() == len(pks)
    assert set(ended) <= {"succeeded", "lost", "skipped"}


def bring_back(running: Service, worker: str) -> bool:
    """What a supervisor does: Celery ends a worker whose children die while it starts."""
    if running.is_running(worker):
        return False
    running.start_worker(worker)
    return True


def kill_one(running: Service, worker: str, victim: str) -> int:
    match victim:
        case "child":
            children = [pid for pid in children_of(running, worker) if is_alive(pid)]
            if not children:
                return 0
            os.kill(random.choice(children), signal.SIGKILL)
        case "redis":
            running.stop("redis", signal.SIGKILL)
            running.start_redis()
        case "worker":
            kill_whole(running, worker)
            running.start_worker(worker)
    return 1


def test_a_waiting_run_starts_when_its_holder_was_lost(running: Service, worker: str, say: Say) -> None:
    holder = call(running, "queueing", seconds=60)
    process = wait_for_start(running, holder).pid
    waiting = call(running, "queueing", seconds=0.2)
    wait_for_status(running, waiting, "queued")
    os.kill(process, signal.SIGKILL)
    lost, row = wait_for_end(running, holder), wait_for_end(running, waiting)
    say(f"started {seconds_between(lost.finished_at, row.started_at):.3f} s after the other's loss")
    assert (lost.status, row.status) == ("lost", "succeeded")


def test_without_a_worker_a_run_waits_and_can_be_cancelled(running: Service, worker: str) -> None:
    kill_whole(running, worker)
    (pk,) = enqueue(running, "lasting", seconds=0.1)
    assert wait_for_status(running, pk, "queued").attempt == 1
    cancel(running, pk)
    with another_worker(running) as name:
        wait_until(lambda: f"[{pk}] ignored" in running.log(name), what="its message is dropped")
    assert (wait_for_end(running, pk).status, whats(running, pk)) == ("cancelled", [])
