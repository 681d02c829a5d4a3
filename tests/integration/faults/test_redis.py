"""Redis dies, loses its data, and delivers messages more than once."""

import signal
import time
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

from tests.integration.faults.workers import VISIBILITY_SECONDS, another_worker, seconds_between, when_begun
from tests.integration.ledger import (
    call,
    call_lasting,
    enqueue,
    let_end,
    release,
    wait_for_end,
    wait_for_start,
    whats,
)
from tests.integration.processes import forget_restoring_lock, wipe_redis
from tests.integration.service import Service
from tests.waiting import wait_until

REFUSED = "Waiting for the broker"


def test_runs_survive_a_redis_that_is_killed_and_restarted(running: Service, worker: str) -> None:
    busy = [call_lasting(running, "allowing") for _ in range(2)]
    for pk in busy:
        wait_for_start(running, pk)
    waiting = enqueue(running, "allowing", count=5, seconds=0.1)
    said = running.log("beat").count(REFUSED)
    running.stop("redis", signal.SIGKILL)
    wait_until(lambda: running.log("beat").count(REFUSED) > said, what="beat cannot publish")
    running.start_redis()
    begin = time.monotonic()
    with let_end(running, "allowing"):
        ended = Counter(wait_for_end(running, pk).status for pk in (*busy, *waiting))
    print(f"{dict(ended)}, all over {time.monotonic() - begin:.1f} s after Redis' return")
    assert ended == {"succeeded": 7}
    assert [whats(running, pk).count("begin") for pk in (*busy, *waiting)] == [1] * 7


def test_a_job_can_finish_without_redis_and_its_worker_continues(running: Service, worker: str) -> None:
    pk = call_lasting(running, "lasting")
    when_begun(running, pk)
    running.stop("redis", signal.SIGKILL)
    with let_end(running, "lasting"):
        assert wait_for_end(running, pk).status == "succeeded"
    running.start_redis()
    assert wait_for_end(running, call(running, "lasting", seconds=0.1)).status == "succeeded"
    assert running.is_running(worker)


def test_queued_runs_are_published_again_after_redis_is_wiped(running: Service, worker: str) -> None:
    busy = [call(running, "allowing", seconds=60) for _ in range(2)]
    for pk in busy:
        wait_for_start(running, pk)
    waiting = enqueue(running, "allowing", count=20, seconds=0.1)
    wiped = wipe_redis(running)
    release(running, *busy)
    begin = time.monotonic()
    ended = Counter(wait_for_end(running, pk).status for pk in waiting)
    print(f"{wiped} messages wiped, {dict(ended)} after {time.monotonic() - begin:.1f} s")
    # There may be more if a slow machine gives beat time to publish them again.
    assert wiped >= len(waiting)
    assert ended == {"succeeded": 20}
    assert [whats(running, pk).count("begin") for pk in waiting] == [1] * 20


def test_a_message_that_is_delivered_repeatedly_is_executed_once(running: Service, worker: str) -> None:
    pk = call(running, "lasting", seconds=2)
    for _ in range(3):
        call(running, "lasting", task_id=pk, seconds=2)
    assert wait_for_end(running, pk).status == "succeeded"
    call(running, "lasting", task_id=pk, seconds=2)
    wait_until(lambda: running.log(worker).count(f"message of run {pk} of") >= 4, what="four are dropped")
    assert whats(running, pk) == ["begin", "end", "cleanup"]


def test_a_job_longer_than_the_visibility_timeout_is_executed_once(running: Service, worker: str) -> None:
    pk = call_lasting(running, "lasting")
    started = when_begun(running, pk).started_at
    wait_until(
        lambda: seconds_between(started, datetime.now(UTC)) > VISIBILITY_SECONDS,
        what="the visibility timeout has passed",
    )
    # Workers restore overdue messages when they start, unless one killed while doing so still holds a lock.
    forget_restoring_lock(running)
    with another_worker(running) as second:
        wait_until(lambda: is_delivered_again(running, pk, worker, second), what="it is redelivered")
        with let_end(running, "lasting"):
            row = wait_for_end(running, pk)
    assert (row.status, whats(running, pk)) == ("succeeded", ["begin", "end", "cleanup"])


def is_delivered_again(running: Service, pk: UUID, *workers: str) -> bool:
    """Whether the run's message was delivered to any of these workers while it ran."""
    return any(f"A message of run {pk} of lasting starts nothing" in running.log(name) for name in workers)
