"""The newest runs of many jobs or schedules, as statistics and as sparklines.

Only the newest runs of each are read, using the indexes on job and schedule, so a page is equally fast with a
hundred runs and with millions.

A sparkline has a bar for each run, oldest first, whose height is the duration. Statuses differ in shape as
well as in colour: a successful run is a plain bar, a failed run has a foot, and a run that was not executed
is a hollow box.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from html import escape
from operator import attrgetter
from statistics import median
from typing import Any, NamedTuple, Self
from uuid import UUID

from django.db.models import BooleanField, Count, F, Func, Min, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.admin.markup import filled
from jobledger.admin.unconverted import Unconverted, time_of
from jobledger.jobs.registry import Job
from jobledger.models import COMPLETED, FAILURES, LIVE, SUCCESSES, Run, Status

WINDOW = 50
"""The number of newest runs in statistics and duration charts."""
_JOBS_PER_QUERY = 200
"""SQLite supports at most 500 terms in a compound SELECT."""
_COLUMNS: tuple[str | Unconverted, ...] = (
    Unconverted("pk"),
    "status",
    *(Unconverted(name) for name in ("queued_at", "started_at", "finished_at")),
)


_NOTHING = timedelta(0)
_STEP, _BAR_WIDTH = 6, 5
_GROUND, _HEIGHT = 20, 24
_MIN_BAR_HEIGHT = 2
_SPARKLINE = (
    '<svg class="sparkline" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
    "{3}</svg>"
)


class Shape(StrEnum):
    """The shape of a run in sparklines and duration charts."""

    GOOD = "good"
    BAD = "bad"
    IDLE = "idle"
    BUSY = "busy"


_SHAPES = {
    **dict.fromkeys(Status, Shape.IDLE),
    **dict.fromkeys(SUCCESSES, Shape.GOOD),
    **dict.fromkeys(FAILURES, Shape.BAD),
    **dict.fromkeys(LIVE, Shape.BUSY),
}


def shape_of(status: Status) -> Shape:
    """That of an unknown status is as inconspicuous as that of a run that was not executed."""
    return _SHAPES.get(status, Shape.IDLE)


class RecentRun(NamedTuple):
    """The fields of a run that lists and statistics use.

    A tuple, because a page has thousands of them, and of few of these the ID.
    """

    key: UUID | str
    """The ID as the database returns it."""
    status: Status
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def id(self) -> UUID:
        return UUID(self.key) if isinstance(self.key, str) else self.key

    @property
    def began_at(self) -> datetime:
        """When it started or, if it did not, was queued."""
        return self.started_at or self.queued_at

    def took(self, now: datetime) -> timedelta | None:
        """How long it took or has been running; None if it was not executed."""
        if self.started_at is None:
            return None
        end = self.finished_at or (now if self.status is Status.RUNNING else None)
        return None if end is None else max(end - self.started_at, _NOTHING)


@dataclass(frozen=True, kw_only=True)
class NewestRuns:
    """The newest runs of a job or a schedule, up to a limit."""

    runs: tuple[RecentRun, ...] = ()
    """Newest first."""
    counted: tuple[RecentRun, ...] = ()
    """The runs that ``count`` counts: all runs queued since a certain time, so that a list can show exactly
    these. If several runs were queued together with the last one, there may be a few more or fewer."""

    @classmethod
    def of(cls, found: Iterable[RecentRun], limit: int, *, has_ties: bool) -> Self:
        """``found`` has the newest runs and either all that were queued with the last, or the next one."""
        newest = _newest_first(found)
        runs, beyond = newest[:limit], newest[limit : limit + 1]
        whole = [run for run in runs if not beyond or run.queued_at > beyond[0].queued_at]
        return cls(runs=tuple(runs), counted=tuple(newest if has_ties else whole))

    @property
    def counted_since(self) -> datetime | None:
        """When the oldest counted run was queued; None if there are no runs."""
        return self.counted[-1].queued_at if self.counted else None

    def count(self, statuses: Collection[Status]) -> int:
        """How many of the counted runs have one of these statuses."""
        return sum(run.status in statuses for run in self.counted)


class JobStatistics(NewestRuns):
    """The newest runs of a job, with statistics."""

    @property
    def last(self) -> RecentRun | None:
        """The newest run, whatever its status."""
        return self.runs[0] if self.runs else None

    @property
    def executed(self) -> int:
        """How many runs were completed: not skipped, missed, cancelled or still running."""
        return sum(run.status in COMPLETED for run in self.runs)

    @property
    def succeeded(self) -> int:
        return sum(run.status == Status.SUCCEEDED for run in self.runs)

    @property
    def typical_duration(self) -> timedelta | None:
        """The median of the successful runs, which is not affected by a single run that hung."""
        durations = [
            run.finished_at - run.started_at
            for run in self.runs
            if run.status == Status.SUCCEEDED and run.started_at and run.finished_at
        ]
        return median(durations) if durations else None  # type: ignore[type-var]  # durations can be halved


@dataclass(frozen=True, kw_only=True)
class ScheduleCounts:
    """How many schedules a job has, and when it is next due."""

    total: int = 0
    enabled: int = 0
    next_slot: datetime | None = None


def job_statistics(names: Iterable[str]) -> Mapping[str, JobStatistics]:
    """The statistics of these jobs; empty for jobs without runs."""
    runs: dict[str, list[RecentRun]] = {name: [] for name in names}
    for batch in _batches(list(runs)):
        for job, *values in _newest(batch):
            runs[job].append(_recent_run(*values))
    return {name: JobStatistics.of(found, WINDOW, has_ties=False) for name, found in runs.items()}


def schedule_counts(jobs: Iterable[Job]) -> Mapping[str, ScheduleCounts]:
    """The schedule counts of these jobs, by job name. Jobs without schedules are omitted."""
    names = {job.task_name: job.name for job in jobs}
    found = (
        PeriodicTask.objects.filter(task__in=names)
        .values("task")
        .annotate(total=Count("pk"), on=Count("pk", filter=Q(enabled=True)), next=Min("next_slot__slot"))
        .values_list("task", "total", "on", "next")
    )
    return {
        names[task]: ScheduleCounts(total=total, enabled=enabled, next_slot=slot)
        for task, total, enabled, slot in found
    }


def runs_of_schedules(schedule_ids: Collection[int], limit: int) -> dict[int, NewestRuns]:
    """Up to ``limit`` runs of each schedule. Schedules without runs are omitted."""
    if len(schedule_ids) == 1:
        (only,) = schedule_ids
        runs = _runs_of_one_schedule(only, limit)
        return {only: NewestRuns.of(runs, limit, has_ties=True)} if runs else {}
    found: dict[int, list[RecentRun]] = {}
    if oldest := tuple(_oldest_in_limit(schedule_ids, limit)):
        rows = Run.objects.filter(_QueuedSince(oldest)).values_list("schedule", *_COLUMNS)
        for schedule_id, *values in rows:
            found.setdefault(schedule_id, []).append(_recent_run(*values))
    return {pk: NewestRuns.of(runs, limit, has_ties=True) for pk, runs in found.items()}


def _runs_of_one_schedule(schedule_id: int, limit: int) -> list[RecentRun]:
    """The newest ones, and all that were queued with the last of them."""
    # Usually a single statement that reads no more of the index, however many runs there are.
    newest = Run.objects.newest_of_schedule(schedule_id).values_list(*_COLUMNS)
    runs = [_recent_run(*values) for values in newest[: limit + 1]]
    if len(runs) > limit and runs[limit].queued_at == runs[limit - 1].queued_at:
        return [_recent_run(*values) for values in newest.filter(queued_at__gte=runs[limit].queued_at)]
    return runs[:limit]


def sparkline(
    runs: Sequence[RecentRun], now: datetime, zone: tzinfo | None = None, *, places: int
) -> SafeString:
    """Draws the runs (newest first) with room for ``places`` bars; the newest run is on the right.

    Times are those of this or the current zone.
    """
    durations = [run.took(now) for run in runs]
    longest = max(filter(None, durations), default=_NOTHING)
    zone = zone or timezone.get_current_timezone()
    # Only the title is escaped: a page has thousands of bars.
    bars = [
        f'<path class="{_bar_class(run.status)}"'
        f' d="{_bar_path(run, (places - 1 - index) * _STEP, took or _NOTHING, longest)}">'
        f"<title>{escape(_title(run, took, zone))}</title></path>"
        for index, (run, took) in enumerate(zip(runs, durations, strict=True))
    ]
    bars_svg = SafeString("".join(reversed(bars)))
    return filled(_SPARKLINE, places * _STEP, _HEIGHT, counts_by_status(runs), bars_svg)


def counts_by_status(runs: Sequence[RecentRun]) -> str:
    """For example, ``Last 3 runs: 2 succeeded, 1 failed``."""
    statuses = [run.status for run in runs]
    counts = [f"{statuses.count(status)} {status.label}" for status in Status if status in statuses]
    subject = "Last run" if len(runs) == 1 else f"Last {len(runs)} runs"
    return f"{subject}: {', '.join(counts)}"


def run_title(run: RecentRun, now: datetime, zone: tzinfo | None = None) -> str:
    """The title of a bar: ``failed, 1 min 12 s, 2026-11-22 03:00:00 CET``, in the current or this zone."""
    return _title(run, run.took(now), zone)


def _title(run: RecentRun, took: timedelta | None, zone: tzinfo | None) -> str:
    length = "" if took is None else f", {formats.duration(took)}"
    return f"{run.status.label}{length}, {formats.exact(run.began_at, zone)}"


def _newest(names: Sequence[str]) -> Iterable[tuple[Any, ...]]:
    """The newest runs of each job in one query. With OR instead of UNION, PostgreSQL would read all runs."""
    # Sliced in a subquery, because SQLite does not support LIMIT in the terms of a compound SELECT.
    queries = [
        Run.objects.filter(pk__in=_newest_of(name)[: WINDOW + 1]).order_by().values_list("job", *_COLUMNS)
        for name in names
    ]
    return queries[0].union(*queries[1:], all=True) if len(queries) > 1 else queries[0]


def _newest_of(name: str) -> QuerySet[Run, Any]:
    """The primary keys of a job's runs, newest first."""
    return Run.objects.newest_of_job(name).values("pk")


def _batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    return (names[at : at + _JOBS_PER_QUERY] for at in range(0, len(names), _JOBS_PER_QUERY))


def _oldest_in_limit(schedule_ids: Collection[int], limit: int) -> Iterable[tuple[int, datetime | None]]:
    """When the ``limit``-th newest run of each schedule was queued; None if there are fewer runs."""
    # One index lookup per schedule. The times become literals in the second query instead of a join or a
    # subquery: PostgreSQL would underestimate how selective these are, and read all runs.
    newest = Run.objects.filter(schedule=OuterRef("pk")).order_by("-queued_at").values("queued_at")
    schedules = PeriodicTask.objects.filter(pk__in=schedule_ids).order_by()
    pairs: Iterable[tuple[int, datetime | None]] = schedules.values_list(
        "pk", Subquery(newest[limit - 1 : limit])
    )
    return pairs


class _QueuedSince(Func):
    """Whether a run is one of those of a schedule that were queued since a time, for any of several pairs.

    Django takes longer to combine a condition for each than the database takes to find the runs.
    """

    output_field = BooleanField()

    def __init__(self, oldest: tuple[tuple[int, datetime | None], ...]) -> None:
        """``oldest`` has at least one schedule, each with its time, or with None for all of its runs."""
        super().__init__(F("schedule"), F("queued_at"))
        self._oldest = oldest

    def as_sql(self, compiler: Any, connection: Any, *args: Any, **extra: Any) -> Any:
        schedule, queued_at = self.get_source_expressions()
        all_of_one = f"{compiler.compile(schedule)[0]} = %s"
        since = f"({all_of_one} AND {compiler.compile(queued_at)[0]} >= %s)"
        conditions, parameters = list[str](), list[Any]()
        for schedule_id, time in self._oldest:
            conditions.append(all_of_one if time is None else since)
            parameters.append(schedule_id)
            if time is not None:
                parameters.append(queued_at.output_field.get_db_prep_value(time, connection))
        return f"({' OR '.join(conditions)})", parameters


# There are few statuses, also if another version has stored some of its own.
_status = lru_cache(maxsize=100)(Status)


def _recent_run(
    key: UUID | str,
    status: str,
    queued_at: datetime | str,
    started_at: datetime | str | None,
    finished_at: datetime | str | None,
) -> RecentRun:
    return RecentRun(
        key,
        _status(status),
        time_of(queued_at),
        None if started_at is None else time_of(started_at),
        None if finished_at is None else time_of(finished_at),
    )


def _newest_first(runs: Iterable[RecentRun]) -> list[RecentRun]:
    return sorted(runs, key=attrgetter("queued_at", "key"), reverse=True)


@lru_cache(maxsize=100)
def _bar_class(status: Status) -> str:
    return f"bar-{shape_of(status)} run-{escape(status)}"


def _bar_path(run: RecentRun, left: int, took: timedelta, longest: timedelta) -> str:
    shape = shape_of(run.status)
    if shape is Shape.IDLE:
        return f"M{left + 0.5} {_GROUND - 0.5}v-4h{_BAR_WIDTH - 1}v4z"
    height = max(_MIN_BAR_HEIGHT, round(_GROUND * (took / longest))) if longest else _MIN_BAR_HEIGHT
    bar = f"M{left} {_GROUND}v-{height}h{_BAR_WIDTH}v{height}z"
    return f"{bar}M{left} {_GROUND + 1}h{_BAR_WIDTH}v3h-{_BAR_WIDTH}z" if shape is Shape.BAD else bar
