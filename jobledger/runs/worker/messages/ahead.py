"""Lets a worker fetch its next message, and send it to a child, while the child records the end of a run.

Otherwise, the child would wait for as long as that takes. The message waits until the end is on record, but
never for a job, since another worker may be free. If the end cannot be recorded because the database is away,
no job can be executed elsewhere either; only a task that needs no database could.

A message is sent to such a child if no other child is idle, and only if it is of a job: whatever is sent is
executed, even if the connection to the broker is lost before, and its message delivered again. The ledger
sees to it that a run is executed once; an ordinary task would be executed twice.

This is for Redis. RabbitMQ itself hands out messages, as many as are executed at a time.
"""

from typing import Any

from celery.worker import state

from jobledger.jobs import registry
from jobledger.runs.processes import announcements
from jobledger.runs.worker import pool_internals
from jobledger.runs.worker.messages import kombu_internals

_over = set[Any]()
"""The requests whose jobs are over; before it is used, those whose results have arrived are removed."""
_consumers: list[Any] = []
"""The worker's, if it fetches ahead."""


def watch(consumer: Any) -> None:
    """From now on, and as long as the consumer has this connection, fetch messages ahead."""
    # Without the setting, messages wait in the worker anyway.
    if (descriptor := announcements.descriptor()) is None or not consumer.app.conf.worker_disable_prefetch:
        return
    qos = consumer.task_consumer.channel.qos
    if consumer.hub is None or not kombu_internals.counts_messages(qos):
        return
    _consumers[:] = [consumer]
    consumer.hub.add_reader(descriptor, _note)
    # Once, however often the worker connects.
    consumer.hub.on_tick.add(_send_ahead)
    usual = qos.can_consume

    def can_consume() -> bool:
        return usual() or _may_fetch_ahead(consumer, qos)

    qos.can_consume = can_consume


def _note() -> None:
    for run_id, attempt in announcements.received():
        # Celery has forgotten it if its result has arrived before. Its id is another one if it is no UUID.
        request: Any = state.requests.get(str(run_id))
        if request is not None and request.attempt == attempt:
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


def _send_ahead() -> None:
    """Before the worker waits for the next event."""
    if not _over:
        return
    _over.intersection_update(state.reserved_requests)
    pool = _consumers[0].pool
    # A project may have a pool of its own.
    if not isinstance(pool, pool_internals.TaskPool) or (task_id := pool.waiting_task()) is None:
        return
    request = state.requests.get(task_id)
    if request is None or registry.of_task(request.type) is None or not _is_small(request):
        return
    for over in _over:
        if pool.send_ahead(task_id, over):
            return


def _is_small(request: Any) -> bool:
    """Whether all that is sent to a child fits in its pipe."""
    left = pool_internals.MAX_BYTES - len(request.body)
    return left > 0 and len(repr(request.request_dict)) <= left
