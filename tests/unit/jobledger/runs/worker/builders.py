"""Makes what Celery makes in a worker."""

from typing import Any

from celery import current_app
from kombu.message import Message
from kombu.serialization import dumps

from jobledger import tasks  # noqa: F401 - importing makes the jobs' tasks
from jobledger.runs.worker.main_process import JobRequest


def received(task_id: str, task: str = "probes.probe", **options: Any) -> JobRequest:
    """The request that a worker named ``celery@here`` makes of a job's message."""
    headers, properties, body, _ = current_app.amqp.create_task_message(task_id, task, [], {})
    content_type, encoding, payload = dumps(body, serializer="json")
    message = Message(
        payload,
        headers=headers,
        properties=properties,
        delivery_info={},
        content_type=content_type,
        content_encoding=encoding,
    )
    return JobRequest(message, app=current_app, hostname="celery@here", **options)
