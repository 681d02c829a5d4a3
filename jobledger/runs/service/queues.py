"""Queues: which ones are used by queued runs and enabled schedules, and which ones no worker reads.

Only runs and schedules of this project's own tasks are considered: which workers read other services' queues
is not known here, and neither is the queue to which an exchange or a routing key leads.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from celery import current_app
from celery.exceptions import QueueNotFound
from django.db.models import BooleanField, Count, ExpressionWrapper, Min
from django_celery_beat.models import PeriodicTask

from jobledger.jobs import registry
from jobledger.models import Run
from jobledger.models.states import WAITS_FOR_RUN
from jobledger.runs.ordinary_tasks import known_tasks
from jobledger.runs.publishing import delivery, intervals

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
    published_at: datetime | None = None
    """When the latest of these was published."""
    schedules: int = 0
    """Enabled schedules."""
    only_schedule: tuple[int, str] | None = None
    """The id and name of the schedule, if there is exactly one."""
    is_named: bool = False
    """Whether the queue is named by a schedule, as opposed to the project's settings."""


@dataclass(kw_only=True)
class Uses:
    """The queues in use, and the runs whose queue is not known."""

    queues: dict[str, QueueUse] = field(default_factory=dict)
    """By name."""
    waiting_elsewhere: int = 0
    """Runs routed by exchange or routing key that a worker could have started a while ago."""


def uses(now: datetime) -> Uses:
    """All queues in use. Takes two queries, however many runs and schedules there are."""
    result = Uses()
    found = result.queues
    for job, routing, published_at in _queued_runs(now):
        if _is_routed_otherwise(routing):
            result.waiting_elsewhere += published_at is not None
        elif use := _use_of(job, routing.get("queue"), found):
            use.runs += 1
            if published_at is not None:
                use.waiting += 1
                use.published_at = max(use.published_at or published_at, published_at)
    for task, queue, count, pk, schedule_name in _enabled_schedules():
        if use := _use_of(task, queue, found):
            use.only_schedule = None if use.schedules or count > 1 else (pk, schedule_name)
            use.schedules += count
            use.is_named = use.is_named or bool(queue)
    return result


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


def queue_of_run(task: str, routing: Mapping[str, Any]) -> str | None:
    """The same for a run, by what it keeps of its routing; None as well if that is an exchange or a key."""
    return None if _is_routed_otherwise(routing) else queue_of(task, routing.get("queue"))


def _is_routed_otherwise(routing: Mapping[str, Any]) -> bool:
    """By an exchange or a routing key, whose queue is not known here."""
    return "exchange" in routing or "routing_key" in routing


def _use_of(task: str, queue: str | None, found: dict[str, QueueUse]) -> QueueUse | None:
    name = queue_of(task, queue)
    return found.setdefault(name, QueueUse(name=name)) if name else None


def _queued_runs(now: datetime) -> Iterator[tuple[str, dict[str, Any], datetime | None]]:
    """Job or task, routing, and when it was published, if an idle worker would have claimed it by now."""
    queued = Run.objects.to_publish().order_by("publish_after")
    unclaimed_since = now - UNCLAIMED_AFTER
    waits_for_run = ExpressionWrapper(WAITS_FOR_RUN, output_field=BooleanField())
    columns = ("job", "routing", "queued_at", "waiting_since", "publish_count", "publish_after")
    found = queued.values_list(*columns, waits_for_run)[:MAX_RUNS]
    for job, routing, queued_at, superseded_since, count, after, is_blocked in found:
        published_at = _published_at(count, after, unclaimed_since) if count and after else None
        since = superseded_since or queued_at
        if published_at is None and count and superseded_since:
            # The message of the first run that this one has superseded, or one sent later.
            published_at = superseded_since
        is_waiting = published_at is not None and not is_blocked and since < unclaimed_since
        yield job, routing, published_at if is_waiting else None


def _published_at(count: int, publish_after: datetime, before: datetime) -> datetime | None:
    """When the run was last published before the given time, which may not be the last time."""
    last = publish_after - intervals.publish_interval(count)
    if last <= before:
        return last
    return last - intervals.publish_interval(count - 1) if count > 1 else None


def _enabled_schedules() -> Iterator[tuple[str, str | None, int, int, str]]:
    """Task, queue, count, and the id and name of one schedule, for each group with the same routing."""
    enabled = PeriodicTask.objects.filter(enabled=True).order_by()
    groups = enabled.values_list("task", "queue", "exchange", "routing_key")
    found: Any = groups.annotate(count=Count("pk"), least_pk=Min("pk"), least_name=Min("name"))
    for task, queue, exchange, key, count, pk, name in found:
        if not (exchange or key):
            yield task, queue, count, pk, name
