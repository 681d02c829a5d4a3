"""Queues: which ones are used by queued runs and enabled schedules, and which ones no worker reads.

Only runs and schedules of this project's own tasks are considered: which workers read other services' queues
is not known here, and neither is the queue to which a schedule's own exchange or routing key leads.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from celery.exceptions import QueueNotFound
from django.db.models import Count, Min
from django_celery_beat.models import PeriodicTask

from jobledger.jobs import registry
from jobledger.models import Run, Status
from jobledger.runs.ordinary_tasks import known_tasks
from jobledger.runs.publishing import delivery

MAX_RUNS = 1000
"""How many queued runs are considered, starting with those that are due to be published first."""
UNCLAIMED_AFTER = timedelta(seconds=60)


@dataclass(kw_only=True)
class QueueUse:
    """The runs in a queue, and the schedules that use it."""

    name: str
    runs: int = 0
    """Queued runs."""
    waiting: int = 0
    """Runs that a worker could have started a while ago."""
    schedules: int = 0
    """Enabled schedules."""
    only_schedule: tuple[int, str] | None = None
    """The id and name of the schedule, if there is exactly one."""
    is_named: bool = False
    """Whether the queue is named by a schedule, as opposed to the project's settings."""


def uses(now: datetime) -> dict[str, QueueUse]:
    """All queues in use, by name. Takes two queries, however many runs and schedules there are."""
    found: dict[str, QueueUse] = {}
    for job, queue, is_waiting in _queued_runs(now):
        if use := _use_of(job, queue, found):
            use.runs += 1
            use.waiting += is_waiting
    for task, queue, count, pk, schedule_name in _enabled_schedules():
        if use := _use_of(task, queue, found):
            use.only_schedule = None if use.schedules or count > 1 else (pk, schedule_name)
            use.schedules += count
            use.is_named = use.is_named or bool(queue)
    return found


def queue_of(task: str, queue: str | None) -> str | None:
    """The queue for messages of this job or task; None if unknown, or if it is another service's task.

    Also None if the queue cannot be used: no worker could read it, and no message is sent to it.
    """
    if queue and delivery.problem_with_name(queue):
        return None
    job = registry.all_jobs().get(task)
    name = job.task_name if job else task
    if name not in known_tasks():
        return None
    try:
        route = current_app.amqp.router.route({"queue": queue} if queue else {}, name)
    except QueueNotFound:
        return None
    return getattr(route.get("queue"), "name", None)


def _use_of(task: str, queue: str | None, found: dict[str, QueueUse]) -> QueueUse | None:
    name = queue_of(task, queue)
    return found.setdefault(name, QueueUse(name=name)) if name else None


def _queued_runs(now: datetime) -> Iterator[tuple[str, str | None, bool]]:
    """Job or task, the schedule's queue, and whether an idle worker would have claimed the run by now."""
    queued = Run.objects.filter(status=Status.QUEUED, publish_after__isnull=False).order_by("publish_after")
    columns = ("job", "schedule__queue", "schedule__exchange", "schedule__routing_key")
    unclaimed_since = now - UNCLAIMED_AFTER
    for job, queue, exchange, key, queued_at, count, guard in queued.values_list(
        *columns, "queued_at", "publish_count", "concurrency_key"
    )[:MAX_RUNS]:
        if not (exchange or key):
            # Runs that have a key may be waiting for another run of their job.
            yield job, queue, bool(count and not guard and queued_at < unclaimed_since)


def _enabled_schedules() -> Iterator[tuple[str, str | None, int, int, str]]:
    """Task, queue, count, and the id and name of one schedule, for each group with the same routing."""
    enabled = PeriodicTask.objects.filter(enabled=True).order_by()
    groups = enabled.values_list("task", "queue", "exchange", "routing_key")
    found: Any = groups.annotate(count=Count("pk"), least_pk=Min("pk"), least_name=Min("name"))
    for task, queue, exchange, key, count, pk, name in found:
        if not (exchange or key):
            yield task, queue, count, pk, name
