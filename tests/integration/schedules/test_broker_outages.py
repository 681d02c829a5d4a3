"""Redis dies or hangs: beat still records slots, and they are executed when it is back."""

import signal

from tests.integration.schedules.beats import IMPATIENT, changes, settled, this_second
from tests.integration.service import Service
from tests.integration.slots import (
    SECOND,
    Span,
    longest_lateness,
    newest_slot,
    perfect,
    schedule_every_second,
)
from tests.waiting import wait_until

# A tick on a busy machine.
MAX_LATENESS = 4 * SECOND
# One attempt to publish, until the socket timeout, on a busy machine.
MAX_LATENESS_WHILE_REDIS_HANGS = 10 * SECOND


def wait_for_slots(running: Service, name: str, seconds: int) -> Span:
    """The slots from now on, once this many seconds of them are in the ledger."""
    since = this_second() + SECOND
    until = since + seconds * SECOND
    wait_until(
        lambda: (newest_slot(running, name, "queued") or since) >= until,
        what=f"slots of {name} are recorded up to {until}",
    )
    return Span(since=since, until=until)


def test_without_redis_slots_are_recorded_on_time_and_executed_when_it_is_back(running: Service) -> None:
    schedule_every_second(running, "no redis", count=3)
    running.start_beat("beat-without-redis")
    wait_until(lambda: newest_slot(running, "no redis"), what="a run succeeds")
    running.stop("redis", signal.SIGKILL)
    span = wait_for_slots(running, "no redis", seconds=5)
    assert running.is_running("beat-without-redis")
    running.start_redis()
    figures = settled(running, "no redis", span)
    lateness = longest_lateness(running, "no redis", span)
    print(f"{figures}; recorded at most {lateness.total_seconds():.2f} s late")
    assert figures == perfect(len(span) * 3)
    assert lateness < MAX_LATENESS
    assert changes(running, "beat-without-redis") == {"Waiting for the broker": 1, "The broker is back": 1}


def test_a_redis_that_hangs_delays_recording_only_briefly(running: Service) -> None:
    schedule_every_second(running, "hung")
    running.start_beat("beat-with-hung-redis", **IMPATIENT)
    wait_until(lambda: newest_slot(running, "hung"), what="a run succeeds")
    running.processes["redis"].send_signal(signal.SIGSTOP)
    try:
        span = wait_for_slots(running, "hung", seconds=5)
    finally:
        running.processes["redis"].send_signal(signal.SIGCONT)
    assert running.is_running("beat-with-hung-redis")
    figures = settled(running, "hung", span)
    lateness = longest_lateness(running, "hung", span)
    print(f"{figures}; recorded at most {lateness.total_seconds():.2f} s late")
    assert figures == perfect(len(span))
    assert lateness < MAX_LATENESS_WHILE_REDIS_HANGS
