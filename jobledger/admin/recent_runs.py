"""What the ledger says of each job: its last runs, how often they succeed, how long they usually take.

All of it comes from the newest runs of each job, found through the index on job and moment. So the
questions cost the same with a hundred runs as with millions, and one serves many jobs together.
"""

import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

from django.db.models import Count, Min, OuterRef, Q, QuerySet, Subquery
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.registry import Job
from jobledger.models import COMPLETED, Run, Status

WINDOW = 30
"""How many of a job's newest runs are looked at."""
JOBS_PER_QUESTION = 200
"""SQLite joins at most 500 questions into one."""


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """What the figures need of a run."""

    pk: UUID
    status: Status
    queued_at: datetime
    took: timedelta | None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A job's newest runs, the newest first, and what they say together."""

    runs: tuple[LastRun, ...] = ()

    @property
    def last(self) -> LastRun | None:
        """The newest run, whatever became of it."""
        return self.runs[0] if self.runs else None

    @property
    def executed(self) -> int:
        """How many were carried out: not skipped, missed, cancelled or still going on."""
        return sum(run.status in COMPLETED for run in self.runs)

    @property
    def succeeded(self) -> int:
        """How many of these succeeded."""
        return sum(run.status == Status.SUCCEEDED for run in self.runs)

    @property
    def usual_duration(self) -> timedelta | None:
        """The median of those that succeeded: one that hung does not count for more than one."""
        took = [run.took for run in self.runs if run.status == Status.SUCCEEDED and run.took is not None]
        return median(took) if took else None  # type: ignore[type-var]  # lengths of time can be halved


@dataclass(frozen=True, kw_only=True)
class Schedules:
    """A job's schedules in figures."""

    count: int = 0
    on: int = 0
    next_slot: datetime | None = None


def figures(names: Iterable[str]) -> Mapping[str, Figures]:
    """The figures of these jobs; those of a job without runs are empty."""
    runs: dict[str, list[LastRun]] = {name: [] for name in names}
    for some in _portions(list(runs)):
        for pk, job, status, queued_at, started_at, finished_at in _newest(some):
            took = finished_at - started_at if started_at and finished_at else None
            runs[job].append(LastRun(pk=pk, status=Status(status), queued_at=queued_at, took=took))
    return {
        name: Figures(runs=tuple(sorted(found, key=lambda run: (run.queued_at, run.pk), reverse=True)))
        for name, found in runs.items()
    }


def schedules(jobs: Iterable[Job]) -> Mapping[str, Schedules]:
    """The schedules of these jobs, counted, by the jobs' names."""
    names = {job.task_name: job.name for job in jobs}
    found = (
        PeriodicTask.objects.filter(task__in=names)
        .values("task")
        .annotate(count=Count("pk"), on=Count("pk", filter=Q(enabled=True)), next=Min("next_slot__slot"))
        .values_list("task", "count", "on", "next")
    )
    return {names[task]: Schedules(count=count, on=on, next_slot=slot) for task, count, on, slot in found}


def _newest(names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    """Each job's newest runs, by one question: a union, since OR would make PostgreSQL read every run."""
    fields = ("pk", "job", "status", "queued_at", "started_at", "finished_at")
    # Sliced within: SQLite takes no LIMIT in a part of a union.
    of_each = [
        Run.objects.filter(pk__in=_newest_of(name)[:WINDOW]).order_by().values_list(*fields) for name in names
    ]
    return of_each[0].union(*of_each[1:], all=True) if len(of_each) > 1 else of_each[0]


def _newest_of(name: str) -> QuerySet[Run, Any]:
    """The keys of a job's runs, the newest first, along the index on job and moment.

    With an equal sign PostgreSQL may walk through all jobs' runs by their moment instead, which takes long
    where a job that once ran often has not run for a while. A range leaves it one index that has this order.
    """
    return Run.objects.filter(job__gte=name, job__lte=name).order_by("job", "-queued_at").values("pk")


def _portions(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[at : at + JOBS_PER_QUESTION] for at in range(0, len(names), JOBS_PER_QUESTION))


_COLUMNS = ("schedule", "id", "status", "queued_at", "started_at", "finished_at")


@dataclass(frozen=True, kw_only=True)
class LatestRun:
    """What a list says of a run."""

    id: uuid.UUID
    status: Status
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def moment(self) -> datetime:
        """When it came about, or began."""
        return self.started_at or self.queued_at

    def took(self, now: datetime) -> timedelta | None:
        """How long it ran, or has been running; None where it was not executed."""
        if self.started_at is None:
            return None
        end = self.finished_at or (now if self.status is Status.RUNNING else None)
        return None if end is None else max(end - self.started_at, timedelta(0))


def of_schedules(schedule_ids: Collection[int], limit: int) -> dict[int, list[LatestRun]]:
    """At most so many runs of each, newest first; a schedule without runs is left out. For a page of them."""
    wanted = Q()
    for schedule_id, moment in _oldest_wanted(schedule_ids, limit):
        wanted |= Q(schedule=schedule_id) & (Q() if moment is None else Q(queued_at__gte=moment))
    found: dict[int, list[LatestRun]] = {}
    # Without anything that is wanted the condition would be empty, and everything would fit it.
    for schedule_id, *values in Run.objects.filter(wanted).values_list(*_COLUMNS) if wanted else ():
        found.setdefault(schedule_id, []).append(_run(*values))
    return {pk: _newest_first(runs, limit) for pk, runs in found.items()}


def _oldest_wanted(schedule_ids: Collection[int], limit: int) -> Iterable[tuple[int, datetime | None]]:
    """Each schedule with the moment of its oldest wanted run; None where it has fewer than are wanted."""
    # One step into an index for each schedule. That the moments are then written into the second query, and
    # not joined into one, is for PostgreSQL: it would not know how few runs they let through, and read all.
    newest = Run.objects.filter(schedule=OuterRef("pk")).order_by("-queued_at").values("queued_at")
    schedules = PeriodicTask.objects.filter(pk__in=schedule_ids).order_by()
    pairs: Iterable[tuple[int, datetime | None]] = schedules.values_list(
        "pk", Subquery(newest[limit - 1 : limit])
    )
    return pairs


def _run(
    run_id: uuid.UUID,
    status: str,
    queued_at: datetime,
    started_at: datetime | None,
    finished_at: datetime | None,
) -> LatestRun:
    return LatestRun(
        id=run_id,
        status=Status(status),
        queued_at=queued_at,
        started_at=started_at,
        finished_at=finished_at,
    )


def _newest_first(runs: list[LatestRun], limit: int) -> list[LatestRun]:
    """Several of one moment may have come on top."""
    return sorted(runs, key=lambda run: (run.queued_at, run.id), reverse=True)[:limit]
