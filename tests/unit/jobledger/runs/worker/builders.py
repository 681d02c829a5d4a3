"""Builds requests as Celery does in a worker."""

from collections.abc import Sequence
from typing import Any

from celery import current_app
from kombu.message import Message
from kombu.serialization import dumps

from jobledger import tasks  # noqa: F401 - importing creates the jobs' tasks
from jobledger.runs.worker.main_process import JobRequest


def message_of(
    task_id: str,
    task: str = "probes.probe",
    *,
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    chord: dict[str, Any] | None = None,
    **more_headers: Any,
) -> Any:
    """A task message as received by a worker."""
    made = current_app.amqp.create_task_message(task_id, task, list(args), kwargs or {}, chord=chord)
    headers, properties, body, _ = made
    content_type, encoding, payload = dumps(body, serializer="json")
    return Message(
        payload,
        headers={**headers, **more_headers},
        properties=properties,
        delivery_info={},
        content_type=content_type,
        content_encoding=encoding,
    )


def received(
    task_id: str,
    task: str = "probes.probe",
    *,
    args: Sequence[Any] = (),
    kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> JobRequest:
    """The request that the worker ``celery@here`` creates from a job's message."""
    message = message_of(task_id, task, args=args, kwargs=kwargs)
    return JobRequest(message, app=current_app, hostname="celery@here", **options)
