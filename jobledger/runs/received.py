"""Messages without a run, such as those of ``celery call``, as requests for one.

The run keeps what its message says: its deadline, and its queue, from which later attempts are taken, too.
Nothing in a message is to be trusted.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

from celery import current_app
from celery.app.task import Context
from celery.exceptions import Ignore, QueueNotFound
from celery.utils.time import maybe_iso8601
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.json_text import readable
from jobledger.jobs.options import OptionsError, check_bounds
from jobledger.jobs.registry import Job
from jobledger.models import Run, Trigger
from jobledger.runs import dispatch
from jobledger.runs.dispatch import RunRequest
from jobledger.runs.publishing import delivery
from jobledger.tracing import context

MAX_NAME_LENGTH = 200
"""As for a schedule's queue."""
MAX_PRIORITY = 255


def request_of(message: Context, job: Job, options: dict[str, Any]) -> RunRequest:
    """The request of a message that was sent by another scheduler, or ad hoc.

    Raises Ignore for the message of a run that was deleted.
    """
    if has_run(message):
        raise Ignore
    name = _schedule_name(_headers(message))
    schedule = PeriodicTask.objects.filter(name=name).only(*delivery.KEPT_ROUTING).first() if name else None
    return RunRequest(
        job=job.name,
        # If they are too large, the run fails with that error, and does not store them.
        options={} if bounds_error(options) else options,
        trigger=Trigger.SCHEDULE if name else Trigger.CELERY,
        schedule_id=schedule.pk if schedule else None,
        schedule_name=name,
        routing=delivery.routing_of(schedule) if schedule else _routing(message, job),
        start_before=_deadline(message),
        trace_context=context.of({**vars(message), **_headers(message)}),
    )


def run_of(message: Context, job: Job) -> Run | None:
    """The run of a message, created if need be; None if it was deleted."""
    try:
        return dispatch.receive(str(message.id), lambda: request_of(message, job, dict(message.kwargs or {})))
    except Ignore:
        return None


def attempt_of(message: Context) -> int:
    """The attempt of its run that the message was sent for."""
    attempt = _headers(message).get(delivery.RUN_HEADER)
    return attempt if isinstance(attempt, int) else 1


def has_run(message: Context) -> bool:
    """Whether the message was sent for a run, which is in the ledger unless it was deleted."""
    return delivery.RUN_HEADER in _headers(message)


def bounds_error(options: dict[str, Any]) -> str:
    """Why the options are larger than options may be; empty if they are not."""
    try:
        check_bounds(options)
    except OptionsError as error:
        return str(error)
    return ""


def _headers(message: Context) -> dict[str, Any]:
    return message.headers if isinstance(message.headers, dict) else {}


def _schedule_name(headers: Mapping[str, Any]) -> str:
    name = headers.get(delivery.SCHEDULE_HEADER)
    return readable(name if isinstance(name, str) else str(name or ""))


def _deadline(message: Context) -> datetime | None:
    """When the message expires."""
    try:
        time = maybe_iso8601(cast("str | None", message.expires))
    except (TypeError, ValueError, AttributeError):
        return None
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)


def _routing(message: Context, job: Job) -> dict[str, Any]:
    """How the message was routed, where that differs from the job's own route and can be used again."""
    info: Mapping[str, Any] = message.delivery_info or {}
    exchange, routing_key, priority = (info.get(name) for name in ("exchange", "routing_key", "priority"))
    # With the nameless exchange, which Celery uses for queues, the routing key is the name of the queue.
    names = {"exchange": exchange, "routing_key": routing_key} if exchange else {"queue": routing_key}
    routing = {} if names in _own_routes(job) else {name: value for name, value in names.items() if value}
    if isinstance(priority, int) and 0 < priority <= MAX_PRIORITY:
        routing["priority"] = priority
    if any(isinstance(name, str) and len(name) > MAX_NAME_LENGTH for name in routing.values()):
        return {}
    try:
        return delivery.validated_routing(routing)
    except (delivery.DeliveryError, TypeError):
        return {}


def _own_routes(job: Job) -> list[dict[str, Any]]:
    """Where the job's messages go if nothing else is said, in both ways to say it."""
    try:
        queue = current_app.amqp.router.route({}, job.task_name)["queue"]
    except (QueueNotFound, KeyError):
        return []
    exchange = {"exchange": queue.exchange.name, "routing_key": queue.routing_key}
    return [{"queue": queue.name}, exchange]
