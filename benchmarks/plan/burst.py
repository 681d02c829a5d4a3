"""Measures a burst: schedules that are due in the same minute, with beat and workers as real processes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import LiteralString

from benchmarks import services
from benchmarks.databases import database_server
from benchmarks.plan.costs import Burst
from benchmarks.plan.used import NO_AUTOVACUUM, Meter, meter_of, prepared
from tests.integration.service import Service

ADOPTED_A_SECOND, PUBLISHED_A_SECOND, EXECUTED_A_SECOND = 500, 50, 5
"""Schedules that beat notices, and runs. Fewer mean that something is wrong: the measurement ends."""
START_SECONDS, AHEAD_SECONDS = 40, 10
"""What beat and the schedules may take to be there, and how long before the minute that must be."""
POLL_SECONDS, RARE_POLL_SECONDS = 1.0, 5.0
"""Each look visits all runs, so that it must not be taken often while they are executed."""
ADOPTED = """
SELECT count(*) FROM jobledger_nextslot
JOIN django_celery_beat_periodictask ON django_celery_beat_periodictask.id = schedule_id
WHERE name LIKE 'schedule %' AND due_at > now()
"""
PUBLISHED = """
SELECT count(*) FROM jobledger_run
WHERE job = 'noop' AND (status IN ('running', 'succeeded') OR publish_count > 0)
"""
EXECUTED = "SELECT count(*) FROM jobledger_run WHERE job = 'noop' AND status NOT IN ('queued', 'running')"
SUCCEEDED = "SELECT count(*) FROM jobledger_run WHERE job = 'noop' AND status = 'succeeded'"
LAST_END = "SELECT extract(epoch FROM max(finished_at)) FROM jobledger_run WHERE job = 'noop'"


def measured(count: int, workers: Sequence[int], children: int, beats: int = 1) -> Iterator[Burst]:
    """Measure with as many workers, each time in a new service.

    Raises NotMeasuredError without Docker, and TimeoutError, which says of what, if something takes too long.
    """
    with database_server("postgres", NO_AUTOVACUUM):
        for number in workers:
            with (
                services.started(services.OURS, WORKER_CONCURRENCY=str(children)) as running,
                meter_of(running) as meter,
            ):
                yield _measured(running, meter, count, number, children, beats)


def _measured(running: Service, meter: Meter, count: int, workers: int, children: int, beats: int) -> Burst:
    names = [f"worker{number}" for number in range(workers)]
    for name in names:
        running.start_worker(name)
    with beats_waiting(running, meter, count, beats) as (minute, beat_pids):
        workers_pids = [running.processes[name].pid for name in names]
        before, before_of_beat = meter.now(*workers_pids), meter.now(*beat_pids)
        await_published(meter, count, minute)
        published = time.time() - minute.timestamp()
        await_executed(meter, count)
        used, used_by_beat = meter.now(*workers_pids) - before, meter.now(*beat_pids) - before_of_beat
    return Burst(
        count=count,
        beats=beats,
        workers=workers,
        children=children,
        published_seconds=published,
        executed_seconds=meter.value(LAST_END) - minute.timestamp(),
        beat_ms=used_by_beat.own_ms / count,
        worker_ms=used.own_ms / count,
        database_ms=used.database_ms / count,
    )


@contextmanager
def beats_waiting(
    running: Service, meter: Meter, count: int, beats: int = 1
) -> Iterator[tuple[datetime, list[int]]]:
    """The minute in which as many schedules are due, ``AHEAD_SECONDS`` before it, and who is waiting for it.

    Raises TimeoutError if beat has not noticed all of them by then.
    """
    minute = _next_minute(timedelta(seconds=START_SECONDS + AHEAD_SECONDS + count / ADOPTED_A_SECOND))
    ready_at = minute - timedelta(seconds=AHEAD_SECONDS)
    with prepared(running, "schedules", str(count), str(minute.minute)) as done:
        done()
    names = [f"beat{number}" for number in range(beats)]
    for name in names:
        running.start_beat(name)
    _await(meter, ADOPTED, count, "schedules were noticed by beat", _seconds_until(ready_at))
    meter.vacuum()
    time.sleep(max(_seconds_until(ready_at), 0))
    if _seconds_until(minute) < AHEAD_SECONDS / 2:
        raise RuntimeError("the machine is too busy: everything was ready too late")
    yield minute, [running.processes[name].pid for name in names]
    for name in names:
        running.stop(name)


def await_published(meter: Meter, count: int, minute: datetime) -> None:
    """Until all are published that are due in this minute. Raises TimeoutError."""
    within = _seconds_until(minute) + 60 + count / PUBLISHED_A_SECOND
    _await(meter, PUBLISHED, count, "runs were published", within)


def await_executed(meter: Meter, count: int) -> None:
    """Until all have been executed. Raises TimeoutError, and RuntimeError if one has not succeeded."""
    _await(meter, EXECUTED, count, "runs have ended", 60 + count / EXECUTED_A_SECOND, RARE_POLL_SECONDS)
    if (succeeded := meter.value(SUCCEEDED)) != count:
        raise RuntimeError(f"only {succeeded:g} of {count} runs have succeeded")


def _await(
    meter: Meter,
    statement: LiteralString,
    count: int,
    what: str,
    within: float,
    pause: float = POLL_SECONDS,
) -> None:
    deadline = time.monotonic() + within
    while (found := meter.value(statement)) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {found:g} of {count} {what} within {within:.0f} s")
        time.sleep(pause)


def _next_minute(after: timedelta) -> datetime:
    """The first one that begins after that time."""
    earliest = datetime.now(UTC) + after
    return earliest.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()
