"""Lets a worker fetch its next message while a child records the end of a run.

Otherwise, the child would wait for as long as that takes. The message waits in the worker until the end is on
record, but never for a job, since another worker may be free. If the end cannot be recorded because the
database is away, no job can be executed elsewhere either; only a task that needs no database could.

This is for Redis. RabbitMQ itself hands out messages, as many as are executed at a time.
"""

from typing import Any

from celery.worker import state

from jobledger.runs.processes import announcements
from jobledger.runs.worker.messages import kombu_internals

_over = set[Any]()
"""The requests whose jobs are over; those that Celery has forgotten by now are removed at the next look."""


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
    for run_id in announcements.received():
        # Celery has forgotten it if its result has arrived before. Its id is another one if it is no UUID.
        if (request := state.requests.get(str(run_id))) is not None:
            _over.add(request)


def _may_fetch_ahead(consumer: Any, qos: Any) -> bool:
    """By the same limits, but without the runs whose jobs are over."""
    if not _over:
        return False
    _over.intersection_update(state.reserved_requests)
    # As Celery has it.
    limit = getattr(consumer.controller, "max_concurrency", None) or consumer.pool.num_processes
    over = len(_over)
    return bool(over and len(state.reserved_requests) - over < limit and qos.has_room(beside=over))
