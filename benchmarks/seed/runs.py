"""Weeks of realistic runs: each schedule at its own frequency, inserted in chronological order."""

import heapq
import json
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from django.db.models import Max, Min

from benchmarks.seed import bulk
from benchmarks.seed.schedules import Seeded
from jobledger.models import NO_REASON, Reason, Run, RunOutput, Status, Stream, Trigger, Why

RUN_FIELDS = (
    *("id", "job", "options", "args", "routing", "trigger", "username"),
    *("schedule", "schedule_name", "scheduled_for"),
    *("coalesced", "status", "attempt", "queued_at", "publish_count", "started_at", "finished_at"),
    *("concurrency_key", "reason", "reason_details", "worker", "worker_identity"),
    *("exit_code", "exit_signal", "error", "traceback"),
)
OUTPUT_FIELDS = ("run", "attempt", "number", "stream", "text", "written_at")

# Out of a thousand runs.
STATUS_WEIGHTS = {
    Status.SUCCEEDED: 945,
    Status.FAILED: 25,
    Status.SKIPPED: 12,
    Status.MISSED: 8,
    Status.TIMED_OUT: 4,
    Status.LOST: 3,
    Status.CANCELLED: 2,
    Status.EXPIRED: 1,
}
NOT_EXECUTED = (Status.SKIPPED, Status.MISSED, Status.EXPIRED)
WHY = {
    Status.FAILED: Why.of(Reason.COMMAND_ERROR),
    Status.SKIPPED: Why.of(Reason.OVERLAP),
    Status.MISSED: Why.of(Reason.LATE),
    Status.TIMED_OUT: Why.of(Reason.TIME_LIMIT, limit_seconds=60),
    Status.LOST: Why.of(Reason.LOST_HEARTBEAT, worker="worker@here"),
    Status.CANCELLED: Why.of(Reason.USER, user="ann", trigger=Trigger.CLI),
    Status.EXPIRED: Why.of(Reason.DEADLINE),
}
REASONS = {
    status: (why.columns["reason"], json.dumps(why.details))
    for status, why in {**dict.fromkeys(Status, NO_REASON), **WHY}.items()
}
ERROR = "the remote server did not respond"
TRACEBACK = "Traceback (most recent call last):\n" + '  File "job.py", line 1, in handle\n' * 20
COMMAND_LINE_EVERY = 50
"""Every nth run was started from the command line, without a schedule."""
WITH_OUTPUT = 2000
PIECES, LINES = 2, 10
LONG_PIECES, LONG_LINES = 400, 50
"""1 MiB, which is the most that is kept of a run's output."""
LINE = "line {number:05}: \x1b[32mok\x1b[0m, and nothing worth knowing\n"


@dataclass(frozen=True, kw_only=True)
class _Slot:
    """A time at which a schedule was due."""

    time: datetime
    schedule: Seeded


def make(schedules: Sequence[Seeded], count: int, now: datetime) -> None:
    """Insert this many runs of the schedules, the last of them just before ``now``."""
    rng = random.Random(count)
    bulk.insert(
        Run,
        RUN_FIELDS,
        (_run(slot, number, rng) for number, slot in enumerate(_slots(schedules, count, now))),
    )


def repeat(count: int) -> None:
    """Add this many copies of the runs, each of them some days older than the one before."""
    span = Run.objects.aggregate(first=Min("queued_at"), last=Max("queued_at"))
    bulk.repeat(Run, count, timedelta(days=(span["last"] - span["first"]).days + 1))


def make_output() -> uuid.UUID:
    """Add output to the newest runs, and very much of it to the newest one; returns its id."""
    executed = Run.objects.filter(finished_at__isnull=False, exit_code__isnull=False).newest_first()
    runs = list(executed.values_list("pk", "started_at")[:WITH_OUTPUT])
    bulk.insert(RunOutput, OUTPUT_FIELDS, _output(runs))
    longest: uuid.UUID = runs[0][0]
    return longest


def _slots(schedules: Sequence[Seeded], count: int, now: datetime) -> Iterator[_Slot]:
    """Yield ``count`` slots, oldest first, with the newest just before ``now``."""
    minute = now.replace(second=0, microsecond=0)
    per_day = sum(timedelta(days=1) / each.every for each in schedules)
    # Start an interval earlier: the estimate is fractional, and a surplus is dropped.
    start = minute - timedelta(days=count / per_day) - max(each.every for each in schedules)
    merged = heapq.merge(
        *(_slots_of(each, number, start, minute) for number, each in enumerate(schedules)),
        key=lambda slot: slot.time,
    )
    surplus = sum((minute - start) // each.every for each in schedules) - count
    return islice(merged, max(surplus, 0), None)


def _slots_of(schedule: Seeded, number: int, start: datetime, end: datetime) -> Iterator[_Slot]:
    # Spread evenly, by whole minutes like cron's slots.
    offset = timedelta(minutes=number * 7) % schedule.every
    for step in range((end - start) // schedule.every, 0, -1):
        yield _Slot(time=end - offset - (step - 1) * schedule.every, schedule=schedule)


def _run(slot: _Slot, number: int, rng: random.Random) -> tuple[Any, ...]:
    schedule, is_from_command_line = slot.schedule, number % COMMAND_LINE_EVERY == 0
    (status,) = rng.choices(list(STATUS_WEIGHTS), weights=list(STATUS_WEIGHTS.values()))
    is_executed = status not in NOT_EXECUTED
    started_at = slot.time + timedelta(seconds=rng.uniform(0.1, 2))
    duration = timedelta(seconds=min(rng.lognormvariate(1 + schedule.pk % 5, 0.4), 3500))
    return (
        *(uuid.UUID(int=rng.getrandbits(128)), schedule.job, "{}", "[]", "{}"),
        *((Trigger.CLI.value, "ann", None, "", None) if is_from_command_line else _of_schedule(slot)),
        *(0, status.value, 1, slot.time, 1),
        *((started_at, started_at + duration) if is_executed else (None, slot.time)),
        *("", *REASONS[status], "worker@here" if is_executed else "", ""),
        *(
            _exit_code(status),
            "",
            ERROR if status is Status.FAILED else "",
            "Traceback\n  line\n" * 20 if status is Status.FAILED else "",
        ),
    )


def _of_schedule(slot: _Slot) -> tuple[Any, ...]:
    return Trigger.SCHEDULE.value, "", slot.schedule.pk, slot.schedule.name, slot.time


def _exit_code(status: Status) -> int | None:
    if status in NOT_EXECUTED or status is Status.LOST:
        return None
    return 0 if status is Status.SUCCEEDED else 1


def _output(runs: Sequence[tuple[uuid.UUID, datetime | None]]) -> Iterator[tuple[Any, ...]]:
    for number, (run_id, started_at) in enumerate(runs):
        pieces, lines = (PIECES, LINES) if number else (LONG_PIECES, LONG_LINES)
        for piece in range(pieces):
            stream = Stream.STDERR if piece % 10 == 1 else Stream.STDOUT
            text = "".join(LINE.format(number=piece * lines + line) for line in range(lines))
            yield run_id, 1, piece, stream.value, text, started_at
