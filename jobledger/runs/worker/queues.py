"""Queues: which of them runs wait in and enabled schedules use, and which of them no worker reads.

Only runs and schedules of this project's own tasks are looked at: what reads another service's queues is not
known here. Nor is where a schedule's own exchange or routing key leads.
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

MAX_RUNS = 1000
"""So many queued runs are looked at, those first whose messages are due first."""
UNCLAIMED_AFTER = timedelta(seconds=60)


@dataclass(kw_only=True)
class QueueUse:
    """What is in one queue, and what will be."""

    name: str
    runs: int = 0
    """Queued runs."""
    waiting: int = 0
    """Those of them that a worker could have started a while ago."""
    schedules: int = 0
    """Enabled schedules."""
    only_schedule: tuple[int, str] | None = None
    """The id and the name of the one, if it is one."""
    is_named: bool = False
    """Whether a schedule names the queue, and not the project's settings."""


def uses(now: datetime) -> dict[str, QueueUse]:
    """Every queue that is used, by its name: two queries, however many runs and schedules there are."""
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
    """Where a message of this job or task goes; None if that is not known, or another service's task."""
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
    """The job or task, its schedule's queue, and whether a free worker would have claimed it by now."""
    queued = Run.objects.filter(status=Status.QUEUED, publish_after__isnull=False).order_by("publish_after")
    columns = ("job", "schedule__queue", "schedule__exchange", "schedule__routing_key")
    unclaimed_since = now - UNCLAIMED_AFTER
    for job, queue, exchange, key, queued_at, count, guard in queued.values_list(
        *columns, "queued_at", "publish_count", "concurrency_key"
    )[:MAX_RUNS]:
        if not (exchange or key):
            # Those that have a key may wait for another run of their job.
            yield job, queue, bool(count and not guard and queued_at < unclaimed_since)


def _enabled_schedules() -> Iterator[tuple[str, str | None, int, int, str]]:
    """Of schedules that are routed alike: task and queue, how many they are, and the first of them."""
    enabled = PeriodicTask.objects.filter(enabled=True).order_by()
    groups = enabled.values_list("task", "queue", "exchange", "routing_key")
    found: Any = groups.annotate(count=Count("pk"), least_pk=Min("pk"), least_name=Min("name"))
    for task, queue, exchange, key, count, pk, name in found:
        if not (exchange or key):
            yield task, queue, count, pk, name
