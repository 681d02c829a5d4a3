"""Runs that wait for a worker: which runs occupy the workers, or whether no message reaches them.

Each job and each schedule has its own limits, but several schedules of jobs that hang can still occupy all
worker processes together. Nothing is cancelled for that reason alone: a job may well run for hours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from celery import current_app
from django.db.models import Count, Max

from jobledger import brokers, formats
from jobledger.health.problem import PartName, Problem, ProblemKind
from jobledger.models import Run, ServiceProcess, Status
from jobledger.runs.service import queues
from jobledger.runs.service.queues import QueueUse

TAKES_WITHIN = timedelta(seconds=30)
"""A worker with a free process takes a message at once; this allows for short outages."""
OLDEST = 3
"""How many runs are named."""


@dataclass(frozen=True, kw_only=True)
class _Occupied:
    """All processes of some workers have been executing the same runs for a while."""

    processes: int
    time: timedelta
    oldest: Sequence[Run]


def late_runs(
    uses: Sequence[QueueUse], workers: Sequence[ServiceProcess], now: datetime
) -> Iterator[Problem]:
    """The problems of queues that some of these workers read, and in which runs have waited for a while."""
    busy = list[QueueUse]()
    for use in uses:
        free = _stalled_readers(use, workers)
        if free:
            yield _stalled(use, free, now)
        else:
            busy.append(use)
    asked = [worker for worker in workers if any(_reads(worker, use) for use in busy)]
    yield from _busy(sum(use.waiting for use in busy), asked, now)


def _reads(worker: ServiceProcess, use: QueueUse) -> bool:
    """Workers of an earlier version do not report their queues: they might read any."""
    return not worker.queues or use.name in worker.queues


def _stalled_readers(use: QueueUse, workers: Sequence[ServiceProcess]) -> Sequence[ServiceProcess]:
    """The free workers that read the queue, if none has taken the message that has been in it for a while."""
    readers = [worker for worker in workers if _reads(worker, use)]
    sent_at = use.published_at
    if sent_at is None or any(_may_have_taken(worker, sent_at) for worker in readers):
        return []
    return [worker for worker in readers if _has_free_process(worker)]


def _may_have_taken(worker: ServiceProcess, sent_at: datetime) -> bool:
    """Whether it has taken messages since, or has not had the time to."""
    last = max(worker.message_at or worker.started_at, worker.started_at)
    return last >= sent_at or worker.seen_at < sent_at + TAKES_WITHIN


def _has_free_process(worker: ServiceProcess) -> bool:
    """Whether it could take a message; no if that is not known."""
    return worker.busy is not None and worker.busy < (worker.capacity or 0)


def _stalled(use: QueueUse, free: Sequence[ServiceProcess], now: datetime) -> Problem:
    latest = max(free, key=lambda worker: worker.message_at or worker.started_at)
    last = (
        f"took its last message {formats.relative(at, now)}"
        if (at := latest.message_at)
        else "has taken none yet"
    )
    broker = brokers.whole_name_of(current_app.conf.broker_url)
    return Problem(
        kind=ProblemKind.STALLED_WORKERS,
        part=PartName.WORKERS,
        text=f"{_count(use.waiting)} waiting in the queue “{use.name}”, although its worker {latest.name} is "
        f"free. It {last}.",
        short="taking no messages",
        advice=f"Check that the workers and beat use the same {broker}. If so, restart the workers, and "
        "look at their logs.",
    )


def _busy(waiting: int, workers: Sequence[ServiceProcess], now: datetime) -> Iterator[Problem]:
    if not waiting:
        return
    occupied = _occupied(workers, now)
    yield Problem(
        kind=ProblemKind.BUSY_WORKERS,
        part=PartName.WORKERS,
        text=f"{_count(waiting)} waiting for a free worker for more "
        f"than {formats.duration(queues.UNCLAIMED_AFTER)}." + (_sentence(occupied, now) if occupied else ""),
        short=f"{_number(waiting)} {'run' if waiting == 1 else 'runs'} waiting",
        advice=_STUCK if occupied else _BUSY,
        runs=tuple((run.pk, run.job) for run in occupied.oldest) if occupied else (),
    )


def _count(waiting: int) -> str:
    return f"{_number(waiting)} {'run has' if waiting == 1 else 'runs have'} been"


def _number(waiting: int) -> str:
    return f"{waiting} or more" if waiting == queues.MAX_RUNS else str(waiting)


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
