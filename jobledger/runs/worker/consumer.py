"""The worker's consumer, which survives broker outages and malformed messages.

If the connection to the broker is lost while jobs are running, the worker finishes them and reconnects.
Celery's own consumer crashes (as of Celery and kombu 5.7), because it tries to restore unacknowledged
messages through the lost connection, and to acknowledge them through it when their jobs have finished.
Neither is needed here. Runs that were claimed are in the ledger, and a second delivery of their message is
dropped; runs that were not claimed are published again and, if there is no run yet, Redis redelivers the
message.

Celery's own consumer also crashes if a child has died shortly before the connection is restored, because it
then tries to watch the dead child a second time.

A message that cannot be processed becomes a dead letter and is acknowledged. Celery's own consumer logs some
of these with all their contents, and crashes on others, which are then redelivered.

Celery documents that a worker's consumer may be replaced, but no more than that. There is no setting to leave
unacknowledged messages alone if the connection is lost, although kombu's channel has one, and no hook before
the loop starts in which dead children could be replaced. So this module, and no other, uses private parts of
both.
"""

from collections.abc import Callable, Iterable
from typing import Any

from celery import Task as CeleryTask
from celery.app.task import Context
from celery.exceptions import NotRegistered
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Message

from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.runs.ordinary_tasks import CELERYS_OWN
from jobledger.runs.publishing.delivery import RUN_HEADER
from jobledger.runs.worker import dead_letters, envelope, kombu_internals

logger = line_logger(__name__)

MAINTENANCE_SECONDS = 0.25
MASKED_REQUEST = "jobledger.runs.worker.requests:MaskedRequest"


class Consumer(CeleryConsumer):
    """To be used in Celery's setting ``worker_consumer``."""

    task_consumer: Any  # kombu's, while there is a connection
    pool: Any
    timer: Any
    _maintenance: Any = None

    def update_strategies(self) -> None:
        """Mask secrets in the messages of ordinary tasks, too."""
        for task in self.app.tasks.values():
            if task.Request == CeleryTask.Request:
                task.Request = MASKED_REQUEST
        super().update_strategies()

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """A connection whose channels only deliver readable messages."""
        connection: Any = self.app.connection_for_read(heartbeat=heartbeat)
        connection.transport_cls = kombu_internals.guarded(connection.get_transport_cls())
        return self.ensure_connected(connection)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """The handler that is called with every message."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_keep(message: Message) -> None:
            try:
                envelope.check_task(message.headers, message.body, message.decode)
                handle(message)
            except kombu_internals.LOST_CONNECTION:
                raise
            except envelope.MalformedError as error:
                self._keep(message, str(error))
            except Exception as error:  # noqa: BLE001 - one message must not stop the worker
                self._keep(message, f"it cannot be processed ({type(error).__name__})")

        return handle_or_keep

    def on_unknown_message(self, body: Any, message: Message) -> None:
        """The message uses neither version 2 nor version 1 of Celery's protocol."""
        self._keep(message, "it is not a task message")

    def on_unknown_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Fail the result, for a caller that may wait for it; leave runs to workers that know their job."""
        if RUN_HEADER in message.headers:
            text = "Run %s is left to workers that know its task %s: this one runs different code"
            logger.warning(text, message.headers.get("id"), message.headers.get("task"))
            message.ack()
            return
        self._keep(message, _why_unknown(message.headers.get("task"), self.app.tasks))
        name, task_id = message.headers.get("task"), message.headers.get("id")
        if task_id is not None:
            reply_to = message.properties.get("reply_to")
            request = Context(id=task_id, correlation_id=task_id, reply_to=reply_to)
            self.app.backend.mark_as_failure(task_id, NotRegistered(name), request=request)

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Celery itself rejects the message."""
        self._keep(message, f"Celery cannot read it ({type(exc).__name__})")

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """kombu cannot decode the message."""
        self._keep(message, f"it cannot be decoded ({type(exc).__name__})")

    def _keep(self, message: Message, reason: str) -> None:
        """Record the message as a dead letter, then acknowledge it: in this order, nothing can be lost."""
        dead_letters.keep(message.channel, dead_letters.undeliverable(message, reason))
        if not message.acknowledged:
            message.ack()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Abandon the messages of the lost connection before it is closed, then reconnect."""
        if self.task_consumer is not None:
            self.task_consumer.channel.do_restore = False
        for request in tuple(state.reserved_requests):
            request.acknowledged = True
        super().on_connection_error_after_connected(exc)

    def loop_args(self) -> tuple[Any, ...]:
        """Have the pool replace dead children before the loop starts, and frequently while it runs.

        Celery looks at a child's end, which is usually too early to see that it is dead, and then only every
        five seconds. Until it notices, a message that was sent to the child waits there.
        """
        self.pool.maintain_pool()
        if self._maintenance is not None:
            self.timer.cancel(self._maintenance)
        self._maintenance = self.timer.call_repeatedly(MAINTENANCE_SECONDS, self.pool.maintain_pool)
        args: tuple[Any, ...] = super().loop_args()
        return args


def _why_unknown(name: object, known: Iterable[str]) -> str:
    own = (each for each in known if not each.startswith(CELERYS_OWN))
    hint = registry.suggestion(str(name or ""), own)
    return f"this project has no task with its name. {hint}".rstrip(". ")
