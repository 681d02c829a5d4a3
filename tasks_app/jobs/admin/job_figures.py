"""What the ledger says of each job: its last runs, how often they succeed, how long they usually take.

All of it comes from the newest runs of each job, found through the index on job and moment. So the
questions cost the same with a hundred runs as with millions, and one serves many jobs together.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any
from uuid import UUID

from django.db.models import Count, Min, Q, QuerySet
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.defining.registry import Job
from tasks_app.jobs.models import Run, Status

WINDOW = 30
"""How many of a job's newest runs are looked at."""
JOBS_PER_QUESTION = 200
"""SQLite joins at most 500 questions into one."""
EXECUTED = (Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT, Status.LOST)


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
        return sum(run.status in EXECUTED for run in self.runs)

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
