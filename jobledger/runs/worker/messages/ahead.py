"""Lets a worker fetch its next message while a child records the end of a run.

Otherwise, the child would wait for as long as that takes. The message waits in the worker until the end is on
record, but never for a job, since another worker may be free. If the end cannot be recorded because the
database is away, the message could not be executed elsewhere either.

This is for Redis. RabbitMQ itself hands out messages, as many as are executed at a time.
"""

from collections.abc import Iterator
from typing import Any

from celery.worker import state

from jobledger.runs.dispatch import run_id_of
from jobledger.runs.processes import announcements
from jobledger.runs.worker.messages import kombu_internals


def watch(consumer: Any) -> None:
    """From now on, and as long as the consumer has this connection, fetch messages ahead."""
    # Without the setting, messages wait in the worker anyway.
    if (descriptor := announcements.descriptor()) is None or not consumer.app.conf.worker_disable_prefetch:
        return
    qos = consumer.task_consumer.channel.qos
    if consumer.hub is None or not kombu_internals.counts_messages(qos):
        return
    consumer.hub.add_reader(descriptor, _note)
    usual = qos.can_consume

    def can_consume() -> bool:
        return usual() or _may_fetch_ahead(consumer, qos)

    qos.can_consume = can_consume


def _note() -> None:
    """Celery has forgotten a request whose result has arrived before."""
    announced = set(announcements.received())
    for request in _of_jobs():
        if run_id_of(request.id) in announced:
            request.is_job_over = True


def _may_fetch_ahead(consumer: Any, qos: Any) -> bool:
    """By the same limits, but without the runs whose jobs are over."""
    over = sum(request.is_job_over for request in _of_jobs())
    if not over:
        return False
    # As Celery has it.
    limit = getattr(consumer.controller, "max_concurrency", None) or consumer.pool.num_processes
    return bool(len(state.reserved_requests) - over < limit and qos.has_room(beside=over))


def _of_jobs() -> Iterator[Any]:
    return (each for each in tuple(state.reserved_requests) if hasattr(each, "is_job_over"))
