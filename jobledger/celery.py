"""``configure(app)`` gives a project's Celery app the settings that the service's promises depend on.

What the project sets itself is left alone; system checks say what is at stake. The project's other tasks keep
their own settings: late acknowledgement, for example, is an option of the service's tasks only.
"""

import gc
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakSet

from celery import Celery
from celery.signals import beat_init, worker_before_create_process, worker_init
from django.apps import apps

from jobledger.brokers import scheme, uses_rabbitmq, uses_redis
from jobledger.logs.service import BEAT, WORKER, service
from jobledger.tracing import context

SETTINGS: Mapping[str, Any] = {
    "beat_scheduler": "jobledger.schedules.scheduler:Scheduler",
    "worker_consumer": "jobledger.runs.worker.messages.consumer:Consumer",
    # Otherwise, messages wait for a busy worker while another one is free.
    "worker_prefetch_multiplier": 1,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "broker_connection_retry_on_startup": True,
}

REDIS_SETTINGS: Mapping[str, Any] = {
    # For the same reason. RabbitMQ itself hands out no more messages than a worker executes at a time.
    "worker_disable_prefetch": True,
}

RABBITMQ_SETTINGS: Mapping[str, Any] = {
    # RabbitMQ closes the channel of a worker whose jobs take longer than its `consumer_timeout`.
    "broker_channel_error_retry": True,
}

ROUTER = "jobledger.runs.publishing.job_routes.route_for_task"
"""Knows the queues that jobs declare. A string, since it needs the apps."""

# Give up connecting quickly: what could not be published is published again later.
_CONNECTING: Mapping[str, Any] = {
    "max_retries": 1,
    "interval_start": 0,
    "interval_step": 0.2,
    "interval_max": 0.5,
}
# A Redis that hangs must not hang publishers. `retry_on_timeout` could repeat a push that has arrived.
_REDIS_OPTIONS: Mapping[str, Any] = {
    **_CONNECTING,
    # One list for each priority from 0 to 9. By default, there are four, and 1 is the same as 2.
    "priority_steps": list(range(10)),
    # Look for messages past the visibility timeout at every opportunity (every ten seconds), not every tenth.
    "unacked_restore_throttle": 1,
    # A worker that is killed while doing so must not block the others for long.
    "unacked_mutex_expire": 30,
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 25,
}
_RABBITMQ_OPTIONS: Mapping[str, Any] = {
    **_CONNECTING,
    # Otherwise, a message that RabbitMQ does not accept is lost without an error.
    "confirm_publish": True,
}
# By default, each connection would first try a Sentinel that is down for seconds, again and again.
_SENTINEL_OPTIONS: Mapping[str, Any] = {"socket_timeout": 1, "socket_connect_timeout": 1, "retry": None}
# Celery does not verify a broker's certificate by default, and requires that the backend's URL decides.
_VERIFIED: Mapping[str, Any] = {"ssl_cert_reqs": "required"}
_RESULT_OPTIONS: Mapping[str, Any] = {"retry_policy": {"timeout": 5.0}}

_configured: WeakSet[Celery] = WeakSet()


def configure(app: Celery) -> None:
    """Set what the project does not set, as soon as the app has read its configuration.

    The order of this call and ``app.config_from_object`` does not matter.
    """
    _configured.add(app)
    if service() in (WORKER, BEAT):
        _collect_once_loaded()
    # Celery has Django check the project when a worker or a beat starts, which takes as long as all the rest,
    # and discards what was found. ``jobledger.checks`` checks what they depend on.
    os.environ.setdefault("CELERY_SKIP_CHECKS", "true")
    # `celery call` does not set up Django.
    context.connect()
    app.on_after_configure.connect(_complete, sender=app, weak=False)
    if app.configured:  # type: ignore[attr-defined]  # not in the stubs
        _complete(sender=app, source=app.conf)
    app.autodiscover_tasks(_own_app)


def _collect_once_loaded() -> None:
    """Collect no garbage until the worker or the beat has loaded what it needs, which is none.

    Celery collects it before each child that it creates. Children also share more memory with their parent
    if neither looks through what was loaded before.
    """
    if gc.isenabled():
        gc.disable()
        for signal in worker_init, beat_init:
            signal.connect(_loaded, dispatch_uid="jobledger.loaded")
        worker_before_create_process.connect(_creates_child, dispatch_uid="jobledger.creates_child")


def _loaded(**kwargs: object) -> None:
    gc.freeze()
    gc.enable()


def _creates_child(**kwargs: object) -> None:
    """Before the first one only: later, what is left of runs would never be freed."""
    worker_before_create_process.disconnect(dispatch_uid="jobledger.creates_child")
    gc.freeze()


def is_configured(app: Celery) -> bool:
    """Whether ``configure`` was called for the app."""
    return app in _configured


def _verify_certificates(source: Any, url_name: str, name: str) -> None:
    """What the URL says, such as ``?ssl_cert_reqs=none``, takes precedence."""
    if scheme(source[url_name]) == "rediss" and not source.value_set_for(name):
        source[name] = dict(_VERIFIED)


def _verify_host(source: Any) -> None:
    """RabbitMQ's certificate is verified anyway, but not that it is for this host.

    Of several hosts, Celery would require that all have the first one's name.
    """
    url = str(source.broker_url)
    if scheme(url) == "amqps" and ";" not in url and not source.value_set_for("broker_use_ssl"):
        source["broker_use_ssl"] = {"server_hostname": urlsplit(url).hostname}


def _own_app() -> list[str]:
    return ["jobledger"] if apps.is_installed("jobledger") else []


def _complete(*, sender: Celery, source: Any, **kwargs: object) -> None:
    for name, value in settings_for(source.broker_url).items():
        if not source.value_set_for(name):
            source[name] = value
    _add_options(source, "broker_transport_options", _broker_options(source.broker_url))
    if uses_redis(source.result_backend):
        _add_options(source, "result_backend_transport_options", _RESULT_OPTIONS)
    _complete_sentinel(source, "broker_url", "broker_transport_options")
    _complete_sentinel(source, "result_backend", "result_backend_transport_options")
    _verify_certificates(source, "broker_url", "broker_use_ssl")
    _verify_host(source)
    _verify_certificates(source, "result_backend", "redis_backend_use_ssl")
    _add_router(source)


def _add_router(source: Any) -> None:
    """Before the project's own routes, so that a job goes where it declares."""
    own = source["task_routes"] or ()
    routers = list(own) if isinstance(own, list | tuple) else [own]
    source["task_routes"] = [ROUTER, *(each for each in routers if each != ROUTER)]


def settings_for(broker_url: object) -> Mapping[str, Any]:
    """Celery's settings with which the service keeps its promises."""
    if uses_redis(broker_url):
        return {**SETTINGS, **REDIS_SETTINGS}
    return {**SETTINGS, **RABBITMQ_SETTINGS} if uses_rabbitmq(broker_url) else SETTINGS


def _broker_options(url: object) -> Mapping[str, Any]:
    if uses_redis(url):
        return _REDIS_OPTIONS
    return _RABBITMQ_OPTIONS if uses_rabbitmq(url) else {}


def _add_options(source: Any, name: str, options: Mapping[str, Any]) -> None:
    if options:
        source[name] = {**options, **source[name]}


def _complete_sentinel(source: Any, url_name: str, name: str) -> None:
    if scheme(source[url_name]) == "sentinel":
        sentinel_options = {**_SENTINEL_OPTIONS, **(source[name].get("sentinel_kwargs") or {})}
        source[name] = {**source[name], "sentinel_kwargs": sentinel_options}
