"""Checks of Celery's broker and result backend, and of the queues.

With a broker that is not supported, nothing holds that is promised, so it is an error.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from celery.exceptions import QueueNotFound
from django.core import checks
from django.core.checks import CheckMessage

from jobledger import brokers
from jobledger.conf import settings as settings_of_service
from jobledger.jobs import registry

_EXAMPLES = "redis://localhost:6379/0 or amqp://user:password@localhost:5672/vhost"
_RESULTS = (
    "Set it, for example to the URL of a Redis server, or to 'disabled://': runs are recorded all the same."
)


def check(app: Any) -> Iterator[CheckMessage]:
    """The broker is one with which the service works, and nothing sets its options to unsafe values."""
    yield from _broker(app)
    yield from _result_backend(app)
    yield from _transport_options(app)
    if brokers.uses_rabbitmq(app.conf.broker_url):
        yield from _queues(app)
        yield from _priorities(app)


def named(app: Any, name: str) -> str:
    """The setting as the project spells it."""
    prefix = app.namespace or ""
    return f"{prefix}_{name}".upper() if prefix else name


def _broker(app: Any) -> Iterator[CheckMessage]:
    url = app.conf.broker_url
    if not url:
        yield checks.Warning(
            f"{named(app, 'broker_url')} is not set: no worker receives runs.",
            hint=f"Set it to the URL of a Redis or RabbitMQ server, such as {_EXAMPLES}.",
            id="jobledger.W016",
        )
    elif reason := brokers.why_unsupported(url):
        name, kind = named(app, "broker_url"), brokers.scheme(url)
        yield checks.Error(
            f"{name} is of the kind {kind!r}, which jobledger does not support: {reason}.",
            hint=f"Use Redis, Valkey or RabbitMQ, such as {_EXAMPLES}.",
            id="jobledger.E003",
        )


def _result_backend(app: Any) -> Iterator[CheckMessage]:
    name, backend = named(app, "result_backend"), app.conf.result_backend
    if not backend:
        yield checks.Warning(
            f"{name} is not set: the result of `celery call` cannot be read, nor how the tasks of other "
            "services end.",
            hint=_RESULTS,
            id="jobledger.W017",
        )
    elif brokers.scheme(backend) == "rpc":
        yield checks.Warning(
            f"{name} is 'rpc://', which only the process that sent a message can read: not `celery result`, "
            "not beat for tasks of other services, and not for a run that is attempted again.",
            hint=_RESULTS,
            id="jobledger.W017",
        )


def _transport_options(app: Any) -> Iterator[CheckMessage]:
    options = app.conf.broker_transport_options
    for name, (is_safe, stake, hint) in _options_at_stake(app.conf.broker_url).items():
        if name in options and not is_safe(options[name]):
            yield checks.Warning(
                f"{named(app, 'broker_transport_options')}[{name!r}] is {options[name]!r}: {stake}.",
                hint=f"Remove it, or set it to {hint}.",
                id="jobledger.W015",
            )


def _queues(app: Any) -> Iterator[CheckMessage]:
    for queue in app.amqp.queues.values():
        transient = [
            text
            for is_so, text in (
                (not queue.durable, "not durable"),
                (queue.auto_delete, "deleted when its last worker stops"),
                (queue.exclusive, "exclusive to one connection"),
            )
            if is_so
        ]
        if transient:
            yield checks.Warning(
                f"The queue {queue.name!r} is {' and '.join(transient)}: messages in it are lost with it, "
                "and those of `celery call` are recorded nowhere else.",
                hint="Declare it durable, without auto_delete and exclusive, preferably as a quorum queue: "
                '`queue_arguments={"x-queue-type": "quorum"}`.',
                id="jobledger.W032",
            )


def _priorities(app: Any) -> Iterator[CheckMessage]:
    for job in registry.all_jobs().values():
        if job.declaration.priority is not None and (queue := _without_priorities(app, job)):
            yield checks.Warning(
                f"The job {job.name} declares a priority, but its queue {queue!r} is a classic queue without "
                "priorities: it has no effect.",
                hint="Use quorum queues, which have two levels, or set "
                f"{named(app, 'task_queue_max_priority')}, such as to 10.",
                id="jobledger.W035",
            )


def _without_priorities(app: Any, job: registry.Job) -> str:
    """The name of the job's queue, if all of its messages have the same rank there."""
    try:
        queue = app.amqp.router.route({}, job.task_name).get("queue")
    except QueueNotFound:  # another check reports it
        return ""
    arguments = getattr(queue, "queue_arguments", None) or {}
    has_levels = arguments.get("x-queue-type") == "quorum" or arguments.get("x-max-priority")
    return "" if has_levels else str(getattr(queue, "name", ""))


def _outlasts_lease(timeout: Any) -> bool:
    return isinstance(timeout, int | float) and timeout >= settings_of_service.LEASE_SECONDS


def _is_set(limit: Any) -> bool:
    return limit is not None


_AtStake = Mapping[str, tuple[Callable[[Any], bool], str, str]]
"""By option: whether a value is safe, what happens otherwise, and which value is."""


def _options_at_stake(url: object) -> _AtStake:
    if brokers.uses_redis(url):
        return _REDIS_OPTIONS
    return _RABBITMQ_OPTIONS if brokers.uses_rabbitmq(url) else {}


_REDIS_OPTIONS: _AtStake = {
    "visibility_timeout": (
        _outlasts_lease,
        "messages are delivered again after as many seconds, and ordinary tasks that take longer can repeat",
        "at least LEASE_SECONDS; Celery's default is 3600",
    ),
    "socket_timeout": (_is_set, "a Redis that hangs also stops beat and whoever starts a job", "10"),
    "max_retries": (_is_set, "while Redis is down, beat and whoever starts a job wait for it", "1"),
}
_RABBITMQ_OPTIONS: _AtStake = {
    "confirm_publish": (bool, "a message that RabbitMQ does not accept is lost without an error", "True"),
    "max_retries": (_is_set, "while RabbitMQ is down, beat and whoever starts a job wait for it", "1"),
}
