"""The worker's consumer: neither the loss of the broker nor any message ends the worker.

A worker that loses the broker while jobs run finishes them and goes on. Celery's own ends then (seen with
Celery and kombu 5.7): it gives unacknowledged messages back through the connection that is gone, and
acknowledges them through it when their jobs have ended. Neither is needed here. What has been claimed is in
the ledger, and a message that comes a second time is dropped; what has not been claimed comes again: from the
ledger, or, if it has no run yet, from Redis itself.

Celery's own also ends the worker when a child of it has died shortly before it has the broker back: it
then watches the child's end for a second time, which it cannot.

A message that cannot be taken in becomes a dead letter and is acknowledged. Celery's own logs some of these
with all their contents, and lets others end the worker, to which they are then delivered again.

Celery documents that a worker's consumer may be replaced, and no more. Missing there are a setting to leave
unacknowledged messages alone when the connection is lost, as kombu's channel has one, and a point before the
loop begins at which dead children are replaced. So this module alone uses what both have for themselves.
"""

from collections.abc import Callable
from typing import Any

from celery import Task as CeleryTask
from celery.app.task import Context
from celery.exceptions import NotRegistered
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Message

from jobledger.escapes import line_logger
from jobledger.runs.publishing.delivery import RUN_HEADER
from jobledger.runs.worker import dead_letters, envelope, kombu_internals

logger = line_logger(__name__)

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

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """A connection whose channels hand over only messages that can be read."""
        connection: Any = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_cls = kombu_internals.guarded(connection.get_transport_cls())
        return self.ensure_connected(connection)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """What is called with every message."""
        take_in = super().create_task_handler(*args, **kwargs)

        def take_in_or_bury(message: Message) -> None:
            try:
                envelope.check_task(message.headers, message.body, message.decode)
                take_in(message)
            except kombu_internals.LOST_CONNECTION:
                raise
            except envelope.MalformedError as error:
                self._bury(message, str(error))
            except Exception as error:  # noqa: BLE001 - whatever Celery raises on a message, others wait
                self._bury(message, f"it cannot be taken in ({type(error).__name__})")

        return take_in_or_bury

    def on_unknown_message(self, body: Any, message: Message) -> None:
        """Neither Celery's protocol 2 nor 1."""
        self._bury(message, "it is no task")

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Whoever waits for the result is told; a run waits for a worker that knows its job."""
        if RUN_HEADER in message.headers:
            text = "Run %s is left to a worker that knows its task %s: this one runs other code"
            logger.warning(text, message.headers.get("id"), message.headers.get("task"))
            message.ack()
            return
        self._bury(message, "this project has no task of its name")
        name, task_id = message.headers.get("task"), message.headers.get("id")
        if task_id is not None:
            reply_to = message.properties.get("reply_to")
            request = Context(id=task_id, correlation_id=task_id, reply_to=reply_to)
            self.app.backend.mark_as_failure(task_id, NotRegistered(name), request=request)

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        """What Celery itself finds wrong."""
        self._bury(message, f"Celery cannot read it ({type(exc).__name__})")

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """kombu could not decode it."""
        self._bury(message, f"it cannot be decoded ({type(exc).__name__})")

    def _bury(self, message: Message, reason: str) -> None:
        """Keep a record of the message, then acknowledge it. In this order nothing is lost."""
        dead_letters.keep(message.channel, dead_letters.undeliverable(message, reason))
        if not message.acknowledged:
            message.ack()

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
