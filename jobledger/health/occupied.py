"""Busy workers: how long runs have waited for one, and which runs occupy them.

Each job and each schedule has its own limits, but several schedules of jobs that hang can still occupy all
worker processes together. Nothing is cancelled for that reason alone: a job may well run for hours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max

from jobledger import formats
from jobledger.health.problem import PartName, Problem, ProblemKind
from jobledger.models import Run, ServiceProcess, Status
from jobledger.runs.worker import queues

OLDEST = 3
"""How many runs are named."""


@dataclass(frozen=True, kw_only=True)
class _Occupied:
    """All processes of some workers have been executing the same runs for a while."""

    processes: int
    time: timedelta
    oldest: Sequence[Run]


def busy(waiting: int, workers: Sequence[ServiceProcess], now: datetime) -> Iterator[Problem]:
    """A problem if runs are waiting for one of these workers, which read their queues."""
    if not waiting:
        return
    count = f"{waiting} or more" if waiting == queues.MAX_RUNS else str(waiting)
    occupied = _occupied(workers, now)
    yield Problem(
        kind=ProblemKind.BUSY_WORKERS,
        part=PartName.WORKERS,
        text=f"{count} {'run has' if waiting == 1 else 'runs have'} been waiting for a free worker for more "
        f"than {formats.duration(queues.UNCLAIMED_AFTER)}." + (_sentence(occupied, now) if occupied else ""),
        short=f"{count} {'run' if waiting == 1 else 'runs'} waiting",
        advice=_STUCK if occupied else _BUSY,
        runs=tuple((run.pk, run.job) for run in occupied.oldest) if occupied else (),
    )


_BUSY = "The workers are busy. If this persists, increase their concurrency or start another worker."
_STUCK = (
    "If these runs hang, cancel them, and give their jobs a time limit. Otherwise, increase the workers' "
    "concurrency or start another worker."
)


def _occupied(workers: Sequence[ServiceProcess], now: datetime) -> _Occupied | None:
    """None if a process of theirs was free a short while ago, or if that is not known."""
    if not workers or any(worker.capacity is None for worker in workers):
        return None
    theirs = [worker.identity for worker in workers]
    running = Run.objects.filter(status=Status.RUNNING, worker_identity__in=theirs)
    found = running.aggregate(count=Count("pk"), newest=Max("started_at"))
    processes = sum(worker.capacity or 0 for worker in workers)
    if not processes or found["count"] < processes or found["newest"] > now - queues.UNCLAIMED_AFTER:
        return None
    return _Occupied(
        processes=processes,
        time=now - found["newest"],
        oldest=list(running.order_by("started_at")[:OLDEST]),
    )


def _sentence(occupied: _Occupied, now: datetime) -> str:
    named = ", ".join(f"{run.job} (for {_time_since(run.started_at, now)})" for run in occupied.oldest)
    length = formats.duration(occupied.time, parts=1)
    if occupied.processes == 1:
        return f" The only worker process has been busy for {length}; its run is {named}."
    all_of_them = f"All {occupied.processes} worker processes have"
    return f" {all_of_them} been busy for {length}; their oldest runs are {named}."


def _time_since(start: datetime | None, now: datetime) -> str:
    return formats.duration(now - (start or now), parts=1)
