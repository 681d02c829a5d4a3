"""Where the runs of a job go: the queue and the priority that the job declares.

A run's own routing, such as its schedule's queue, takes precedence over them, and they over Celery's
``task_routes``. Each run keeps the result in ``Run.routing``, whoever publishes it. ``route_for_task`` is a
router of Celery, for messages that are sent without a run: by ``celery call``, ``delay`` or ``apply_async``.
"""

from collections.abc import Mapping
from typing import Any, Final

import django
from celery import current_app
from celery.app.routes import Router, prepare
from django.apps import apps

from jobledger.brokers import uses_redis
from jobledger.celery import ROUTER
from jobledger.jobs import registry

ROUTING: Final = ("queue", "exchange", "routing_key")
NOTHING: Final[Mapping[str, Any]] = {}
HIGHEST = 9
"""Of the priorities that are made of those of Django's tasks."""
_DEFAULT_QUEUE = "default"
"""Of Django's tasks: the one that Celery uses by default."""


def completed(job: str, routing: Mapping[str, Any]) -> dict[str, Any]:
    """The routing of a run, with what its job declares where the routing itself says nothing."""
    found = registry.all_jobs().get(job)
    return {**(declared_by(found, routing) if found else {}), **routing}


def route_for_task(
    name: str, args: object, kwargs: object, options: Mapping[str, Any] | None = None, **more: object
) -> dict[str, Any] | None:
    """The route of a job's task, for Celery; None for other tasks, and where nothing is declared."""
    if not apps.models_ready:
        if apps.loading:  # whoever sends a message now needs no job, whose module may need what is missing
            return None
        # As `celery call`: it does not set up Django.
        django.setup()
    job, given = registry.of_task(name), options or {}
    declared = declared_by(job, given) if job else {}
    if not declared or "queue" in declared or _is_routed(given):
        return declared or None
    # Celery takes the whole route from the first router that has one.
    return {**_routed_by_others(name, args, kwargs), **declared}


def message_priority(priority: int) -> int:
    """A priority of Django's tasks, from -100 to 100, as that of a message. With Redis, 0 is the highest."""
    level = (priority + 100) * HIGHEST // 200
    return HIGHEST - level if uses_redis(current_app.conf.broker_url) else level


def declared_by(job: registry.Job, given: Mapping[str, Any] = NOTHING) -> dict[str, Any]:
    """What the job declares and is not given. Values of a wrong type, which a check reports, are left out."""
    queue, priority = _queue_of(job), _priority_of(job)
    declared: dict[str, Any] = {} if _is_routed(given) or not queue else {"queue": queue}
    if priority is not None and given.get("priority") is None:
        declared["priority"] = priority
    return declared


def _is_routed(given: Mapping[str, Any]) -> bool:
    return any(given.get(name) for name in ROUTING)


def _routed_by_others(name: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """The route of the project's own routers, or else to the default queue, which is named."""
    app = current_app
    own = [each for each in app.conf.task_routes if each != ROUTER]
    route = Router(prepare(own), app.amqp.queues, app=app).route({}, name, args, kwargs)
    queue = route.pop("queue", None)
    return {**route, **({"queue": queue.name} if queue else {})}


def _queue_of(job: registry.Job) -> str:
    queue: Any = job.declaration.queue
    if not queue and job.function and job.function.task.queue_name != _DEFAULT_QUEUE:
        queue = job.function.task.queue_name
    return str(queue) if isinstance(queue, str) else ""


def _priority_of(job: registry.Job) -> int | None:
    priority: Any = job.declaration.priority
    if priority is None and job.function:
        return message_priority(job.function.task.priority)
    return priority if isinstance(priority, int) else None
