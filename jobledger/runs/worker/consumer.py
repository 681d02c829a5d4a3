"""The worker's consumer: a worker that loses the broker while jobs run finishes them and goes on.

Celery's own ends the worker then (seen with Celery and kombu 5.7): it gives unacknowledged messages back
through the connection that is gone, and acknowledges them through it when their jobs have ended. Neither is
needed here. What has been claimed is in the ledger, and a message that comes a second time is dropped;
what has not been claimed comes again: from the ledger, or, if it has no run yet, from Redis itself.

Celery's own also ends the worker when a child of it has died shortly before it has the broker back: it
then watches the child's end for a second time, which it cannot.

Celery documents that a worker's consumer may be replaced, and no more. Missing there are a setting to leave
unacknowledged messages alone when the connection is lost, as kombu's channel has one, and a point before the
loop begins at which dead children are replaced. So this module alone uses what both have for themselves.
"""

from typing import Any

from celery import Task as CeleryTask
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer

from jobledger.runs.worker.requests import NOT_SHOWN, masked_headers

MASKED_REQUEST = "jobledger.runs.worker.requests:MaskedRequest"


class Consumer(CeleryConsumer):
    """For Celery's setting ``worker_consumer``."""

    task_consumer: Any  # kombu's, while there is a connection
    pool: Any

    def update_strategies(self) -> None:
        """Messages of ordinary tasks are shown without their secrets, too."""
        for task in self.app.tasks.values():
            if task.Request == CeleryTask.Request:
                task.Request = MASKED_REQUEST
        super().update_strategies()

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Logged without the arguments: whether they hold secrets, only the task's own project knows."""
        message.headers = masked_headers(message.headers)
        super().on_unknown_task(NOT_SHOWN, message, exc)

    def on_unknown_message(self, body: Any, message: Any) -> None:
        message.headers = masked_headers(message.headers or {})
        super().on_unknown_message(NOT_SHOWN, message)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        super().on_invalid_task(NOT_SHOWN, message, exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Let go of the messages of the lost connection before it is closed, then reconnect."""
        if self.task_consumer is not None:
            self.task_consumer.channel.do_restore = False
        for request in tuple(state.reserved_requests):
            request.acknowledged = True
        super().on_connection_error_after_connected(exc)

    def loop_args(self) -> tuple[Any, ...]:
        """Before the loop begins, let the pool put a new child in the place of one that has died."""
        self.pool.maintain_pool()
        args: tuple[Any, ...] = super().loop_args()
        return args
