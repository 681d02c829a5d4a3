"""Beats and Redis are killed in turn. ``FAULT_SECONDS`` overrides the duration of the test."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from itertools import cycle

import pytest

from tests.integration.database import is_sqlite
from tests.integration.schedules.beats import settled, this_second
from tests.integration.service import Service, service
from tests.integration.slots import SECOND, Span, perfect, schedule_every_second

pytestmark = pytest.mark.takes_long

FAULT_SECONDS = int(os.environ.get("FAULT_SECONDS", "18"))
SCHEDULES = 6
# Shorter than workers need to reconnect to Redis, so many messages are delivered more than once.
REPUBLISH_TOO_SOON = {"REPUBLISH_AFTER_SECONDS": "0.5"}


def kill_in_turn(running: Service, victims: Sequence[str], *, seconds: int) -> Counter[str]:
    """Kill one, restart it a little later, and continue with the next; returns how often each was killed."""
    kills: Counter[str] = Counter()
    end = time.monotonic() + seconds
    for victim in cycle(victims):
        if time.monotonic() > end:
            return kills
        # There is nothing to wait for between kills.
        time.sleep(random.uniform(0.3, 1.5))
        running.stop(victim, signal.SIGKILL)
        time.sleep(random.uniform(0.0, 1.2))
        running.start_redis() if victim == "redis" else running.start_beat(victim)
        kills[victim] += 1
    return kills


@pytest.mark.every_database
@pytest.mark.timeout(FAULT_SECONDS + 900)
def test_beats_and_redis_are_killed_in_turn_and_every_slot_is_executed_once() -> None:
    with service(WORKER_CONCURRENCY="1", **REPUBLISH_TOO_SOON) as running:
        for number in range(2 if is_sqlite(running) else 3):
            running.start_worker(f"worker{number}")
        running.start_beat("beat1")
        running.start_beat("beat2")
        schedule_every_second(running, "chaos", count=SCHEDULES)
        since = this_second() + SECOND
        kills = kill_in_turn(running, ["beat1", "redis", "beat2"], seconds=FAULT_SECONDS)
        span = Span(since=since, until=this_second())
        figures = settled(running, "chaos", span)
        print(f"{figures}; killed: {kills}")
        assert [name for name in running.processes if not running.is_running(name)] == []
        running.stop_all(signal.SIGKILL)
    assert figures == perfect(len(span) * SCHEDULES)
