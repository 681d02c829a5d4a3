"""Redis dies, forgets, and delivers more than once."""

import signal
import time
from collections import Counter
from datetime import UTC, datetime

from tests.integration.run_faults.workers import VISIBILITY_SECONDS, another_worker, seconds_between
from tests.integration.saying import Say
from tests.integration.service import Service
from tests.integration.survival import (
    call,
    enqueue,
    forget_restoring_lock,
    release,
    wait_for_end,
    wait_for_start,
    wait_for_status,
    whats,
    wipe_redis,
)
from tests.waiting import wait_until

REFUSED = "Waiting for the broker"


def test_runs_outlive_a_redis_that_is_killed_and_started_again(
    running: Service, worker: str, say: Say
) -> None:
    busy = [call(running, "allowing", seconds=5) for _ in range(2)]
    for pk in busy:
        wait_for_start(running, pk)
    waiting = enqueue(running, "allowing", count=5, seconds=0.1)
    said = running.log("beat").count(REFUSED)
    running.stop("redis", signal.SIGKILL)
    wait_until(lambda: running.log("beat").count(REFUSED) > said, what="beat cannot publish either")
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
    # More, where a slow machine gives beat time to publish them again.
    assert wiped >= len(waiting)
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
