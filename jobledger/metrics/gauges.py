"""The state of the service now, by a fixed number of queries, none of which reads the whole ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Exists, Max, Min, OuterRef, Q
from django.db.models.functions import Coalesce, Greatest

from jobledger.health import LATE_AFTER
from jobledger.jobs import registry
from jobledger.metrics import families
from jobledger.metrics.families import Metric
from jobledger.metrics.names import Names
from jobledger.models import NextSlot, Pause, ProcessKind, Run, ServiceProcess, Status
from jobledger.models.process import queue_names
from jobledger.models.states import IN_WORKER, WAITING_SINCE, WAITS_FOR_RUN
from jobledger.runs.service import presence, queues
from jobledger.runs.service.code_version import code_version
from jobledger.schedules import pausing


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A gauge's value for one combination of its labels."""

    metric: Metric
    value: float
    labels: tuple[str, ...] = ()


def read(now: datetime, names: Names) -> Iterable[Sample]:
    """All gauges; ``names`` are those of jobs."""
    yield from _schedules(now)
    yield from _next_runs(names)
    yield from _running(names)
    yield from _queues(now)
    yield from _processes(now)
    is_paused = pausing.active_pauses(None, now).exists()
    yield Sample(metric=families.PAUSED, value=int(is_paused))
    yield Sample(metric=families.BUILD, value=1, labels=(code_version(),))


def _schedules(now: datetime) -> Iterable[Sample]:
    found: Mapping[str, Any] = NextSlot.objects.aggregate(
        enabled=Count("pk"),
        broken=Count("pk", filter=~Q(broken="")),
        overdue=Count("pk", filter=Q(due_at__lt=now - LATE_AFTER)),
        earliest=Min("due_at"),
    )
    late_by = now - found["earliest"] if found["earliest"] else timedelta(0)
    yield Sample(metric=families.SCHEDULES, value=found["enabled"])
    yield Sample(metric=families.BROKEN, value=found["broken"])
    yield Sample(metric=families.OVERDUE, value=found["overdue"])
    own = Pause.objects.active_at(now).filter(schedule=OuterRef("pk"))
    yield Sample(metric=families.PAUSED_SCHEDULES, value=NextSlot.objects.filter(Exists(own)).count())
    yield Sample(metric=families.OVERDUE_AGE, value=max(late_by.total_seconds(), 0.0))


def _next_runs(names: Names) -> Iterable[Sample]:
    # Beat may plan a schedule before its next slot, and after one that is held until the end of a pause.
    planned = NextSlot.objects.exclude(due_at=None).exclude(slot=None)
    starts = planned.annotate(start=Greatest("due_at", "slot")).exclude(_is_paused_at("start")).order_by()
    by_job: dict[str, datetime] = {}
    for task, due_at in sorted(starts.values_list("schedule__task").annotate(at=Min("start"))):
        job = registry.of_task(task)
        name = names.of(job.name if job else task)
        by_job[name] = min(by_job.get(name, due_at), due_at)
    for name, due_at in by_job.items():
        yield Sample(metric=families.NEXT_RUN, value=due_at.timestamp(), labels=(name,))


def _is_paused_at(name: str) -> Q:
    """Whether a pause of the schedule or of the service includes the time in this column."""
    start = OuterRef(name)
    pauses = Pause.objects.filter(Q(until=None) | Q(until__gt=start), since__lte=start)
    exempt = [job.task_name for job in registry.exempt_from_pauses()]
    by_service = Q(Exists(pauses.filter(schedule=None))) & ~Q(schedule__task__in=exempt)
    return Q(Exists(pauses.filter(schedule=OuterRef("pk")))) | by_service


def _running(names: Names) -> Iterable[Sample]:
    running = Run.objects.filter(status=Status.RUNNING).order_by().values_list("job")
    # Also where nothing runs: a series that comes and goes has gaps on a dashboard instead of 0.
    counts = Counter(dict.fromkeys({*registry.all_jobs(), *names.taken}, 0))
    for job, count in sorted(running.annotate(count=Count("pk"))):
        counts[names.of(job)] += count
    for job, count in counts.items():
        yield Sample(metric=families.RUNNING, value=count, labels=(job,))


@dataclass(kw_only=True)
class _Load:
    """What is in a queue, and what workers have taken from it."""

    waiting: int = 0
    age: float = 0.0
    running: int = 0

    def add(self, other: "_Load") -> None:
        self.waiting += other.waiting
        self.age = max(self.age, other.age)
        self.running += other.running


def _queues(now: datetime) -> Iterable[Sample]:
    """Of the queues in use, and of those that workers read; others may be in use elsewhere."""
    loads = _loads(now)
    workers = presence.present(ProcessKind.WORKER, now).values_list("queues", flat=True)
    read_by_workers = {queue for queues_of_one in workers for queue in queue_names(queues_of_one)}
    names, found = Names(read_by_workers), defaultdict[str, _Load](_Load)
    for queue in sorted({*loads, *read_by_workers}):
        found[names.of(queue)].add(loads.get(queue, _Load()))
    for name, load in found.items():
        yield Sample(metric=families.QUEUED, value=load.waiting, labels=(name,))
        yield Sample(metric=families.QUEUE_AGE, value=load.age, labels=(name,))
        yield Sample(metric=families.QUEUE_RUNNING, value=load.running, labels=(name,))


def _loads(now: datetime) -> Mapping[str, _Load]:
    """By queue."""
    waiting = Run.objects.startable(now).exclude(WAITS_FOR_RUN).order_by()
    # A run of a frequent schedule has always been queued lately: it has superseded those before it.
    since = Min(Greatest(WAITING_SINCE, Coalesce("start_after", WAITING_SINCE)))
    # Not those on the command line, nor those that a job has called in its own process.
    running = Run.objects.filter(IN_WORKER, status=Status.RUNNING).order_by()
    found = defaultdict[str, _Load](_Load)
    for job, routing, count, begin in waiting.values_list("job", "routing").annotate(n=Count("pk"), at=since):
        if queue := queues.queue_of_run(job, routing):
            found[queue].add(_Load(waiting=count, age=(now - begin).total_seconds()))
    for job, routing, count in running.values_list("job", "routing").annotate(n=Count("pk")):
        if queue := queues.queue_of_run(job, routing):
            found[queue].add(_Load(running=count))
    return found


def _processes(now: datetime) -> Iterable[Sample]:
    beats = presence.present(ProcessKind.BEAT, now)
    last_tick = ServiceProcess.objects.filter(kind=ProcessKind.BEAT).aggregate(at=Max("seen_at"))["at"]
    workers = list(presence.present(ProcessKind.WORKER, now).values_list("capacity", "busy"))
    yield Sample(metric=families.BEATS, value=beats.count())
    if last_tick is not None:
        age = (now - last_tick).total_seconds()
        yield Sample(metric=families.BEAT_AGE, value=max(age, 0.0))
    yield Sample(metric=families.WORKERS, value=len(workers))
    yield Sample(metric=families.CAPACITY, value=sum(capacity or 0 for capacity, _ in workers))
    yield Sample(metric=families.BUSY, value=sum(busy or 0 for _, busy in workers))
