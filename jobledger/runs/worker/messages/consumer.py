"""The worker's consumer, which survives broker outages and malformed messages.

If the connection to the broker is lost while jobs are running, the worker finishes them and reconnects.
Celery's own consumer crashes (as of Celery and kombu 5.7), because it tries to restore unacknowledged
messages through the lost connection, and to acknowledge them through it when their jobs have finished.
Neither is needed here. Runs that were claimed are in the ledger, and a second delivery of their message is
dropped; runs that were not claimed are published again and, if there is no run yet, Redis redelivers the
message.

Celery's own consumer also crashes if a child has died shortly before the connection is restored, because it
then tries to watch the dead child a second time.

A message for a task that this worker does not know is returned to its queue a few times, since others may
know it. One that cannot be processed becomes a dead letter and is acknowledged. Celery's own consumer logs
some of these with all their contents, and crashes on others, which are then redelivered.

Celery documents that a worker's consumer may be replaced, but no more than that. There is no setting to leave
unacknowledged messages alone if the connection is lost, although kombu's channel has one, and no hook before
the loop starts in which dead children could be replaced. So this module, and no other, uses private parts of
both.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from typing import Any

from celery import Task as CeleryTask
from celery.app.task import Context
from celery.exceptions import NotRegistered
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.consumer.delayed_delivery import DelayedDelivery as CeleryDelayedDelivery
from kombu import Message
from kombu.exceptions import ChannelError

from jobledger import brokers
from jobledger.escapes import escaped, line_logger
from jobledger.jobs import registry
from jobledger.runs.ordinary_tasks import CELERYS_OWN
from jobledger.runs.publishing.delivery import RUN_HEADER
from jobledger.runs.service import pulse
from jobledger.runs.worker.messages import ahead, dead_letters, envelope, kombu_internals, returned
from jobledger.runs.worker.messages.returned import Returns

logger = line_logger(__name__)

MAINTENANCE_SECONDS = 0.25
MASKED_REQUEST = "jobledger.runs.worker.messages.requests:MaskedRequest"


class DelayedDelivery(CeleryDelayedDelivery):
    """Declares the 28 queues for messages with an ETA only if one of the exchanges supports them."""

    def include_if(self, c: CeleryConsumer) -> bool:
        queues = c.app.amqp.queues.values()
        return any(queue.exchange.type != "direct" for queue in queues) and super().include_if(c)


class Consumer(CeleryConsumer):
    """To be used in Celery's setting ``worker_consumer``."""

    class Blueprint(CeleryConsumer.Blueprint):  # type: ignore[misc, valid-type]  # a variable in the stubs
        default_steps = [  # noqa: RUF012 - Celery's
            DelayedDelivery if step.endswith(":DelayedDelivery") else step
            for step in CeleryConsumer.Blueprint.default_steps
        ]

    task_consumer: Any  # kombu's, while there is a connection
    pool: Any
    timer: Any
    qos: Any
    _timers: Sequence[Any] = ()
    _has_begun = False
    """Whether the loop has begun since the worker last connected."""

    @cached_property
    def returns(self) -> Returns:
        """Messages that are or were returned to their queue."""
        return Returns()

    def update_strategies(self) -> None:
        """Mask secrets in the messages of ordinary tasks, too."""
        for task in self.app.tasks.values():
            if task.Request == CeleryTask.Request:
                task.Request = MASKED_REQUEST
        super().update_strategies()

    def connection_for_read(self, heartbeat: float | None = None) -> Any:
        """A connection whose channels only deliver readable messages."""
        connection: Any = self.app.connection_for_read(heartbeat=heartbeat, **self._unconfirmed)
        named, guarded = connection.transport_cls, kombu_internals.guarded(connection.get_transport_cls())
        connection.transport_cls = guarded
        # What logs the connection's address names its transport, such as redis, and not this class.
        connection.resolve_aliases = {**connection.resolve_aliases, guarded: named}
        return self.ensure_connected(connection)

    def connection_for_write(self, url: str | None = None, heartbeat: float | None = None) -> Any:
        """A connection for events, which nobody waits for."""
        made = self.app.connection_for_write(url=url, heartbeat=heartbeat, **self._unconfirmed)
        return self.ensure_connected(made)

    @property
    def _unconfirmed(self) -> dict[str, Any]:
        """Keeps the worker's main process from waiting for RabbitMQ's confirmations.

        They may never come: RabbitMQ has blocked the connection, or has confirmed two messages at once, of
        which one was sent while the other's confirmation was awaited.
        """
        is_needed = brokers.uses_rabbitmq(self.app.conf.broker_url)
        return {"transport_options": {"confirm_publish": False}} if is_needed else {}

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Message], None]:
        """The handler that is called with every message."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_or_keep(message: Message) -> None:
            pulse.message_taken.send(sender=self)
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
        """Leave the message to workers that know its task; if there are none, it becomes a dead letter.

        Runs are published again anyway. The result of a dead letter fails, for a caller that may wait for it.
        """
        if RUN_HEADER in message.headers:
            text = "Run %s is left to workers that know its task %s: this one runs different code"
            logger.warning(text, message.headers.get("id"), message.headers.get("task"))
            message.ack()
            return
        name, task_id = message.headers.get("task"), message.headers.get("id")
        if task_id is not None and _is_returnable(message) and self.returns.hold(task_id):
            self._return_later(message, task_id)
            return
        self._keep(message, _why_unknown(name, self.app.tasks), names_task=True)
        if task_id is not None:
            self._store_failure(message, str(task_id), NotRegistered(name))

    def _store_failure(self, message: Message, task_id: str, error: Exception) -> None:
        reply_to = message.properties.get("reply_to")
        request = Context(id=task_id, correlation_id=task_id, reply_to=reply_to)
        try:
            self.app.backend.mark_as_failure(task_id, error, request=request)
        except Exception as problem:  # noqa: BLE001 - a result backend may raise anything
            # Also what would mean, of the broker's connection, that it is lost.
            logger.warning("The result of task %s could not be stored: %s", task_id, problem)

    def _return_later(self, message: Message, task_id: str) -> None:
        if self.returns.is_first(task_id):
            queue = escaped(str(message.delivery_info.get("routing_key")))
            logger.warning("Returning a message to queue '%s': its task is not one of this project", queue)
        # As Celery does for messages that it holds until their time.
        self.qos.increment_eventually()
        self.timer.call_after(returned.DELAY_SECONDS, self._return, (message,))

    def _return(self, message: Message) -> None:
        if self.task_consumer is None or message.channel is not self.task_consumer.channel:
            return  # the connection was lost in the meantime, so the broker delivers it again
        self.returns.release()
        self.qos.decrement_eventually()
        message.reject(requeue=True)

    def on_invalid_task(self, body: Any, message: Message, exc: Exception) -> None:
        """Celery itself rejects the message."""
        self._keep(message, f"Celery cannot read it ({type(exc).__name__})")

    def on_decode_error(self, message: Message, exc: Exception) -> None:
        """kombu cannot decode the message, or must not."""
        if isinstance(exc, envelope.MalformedError):
            self._keep(message, str(exc))
            return
        self._keep(message, f"it cannot be decoded ({type(exc).__name__})")

    def _keep(self, message: Message, reason: str, *, names_task: bool = False) -> None:
        """Record the message as a dead letter, then acknowledge it: in this order, nothing can be lost."""
        letter = dead_letters.undeliverable(message, reason)
        dead_letters.keep(message.channel, letter, names_task=names_task)
        if not message.acknowledged:
            message.ack()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Abandon the messages of the lost connection before it is closed, then reconnect.

        If RabbitMQ refuses to let the worker begin, for example because a queue exists with other properties,
        it would refuse that again and again: the error ends the worker.
        """
        if isinstance(exc, ChannelError) and not self._has_begun:
            raise exc
        self._has_begun = False
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
        self._has_begun = True
        self.returns.release_all()
        self.pool.maintain_pool()
        for timer in self._timers:
            self.timer.cancel(timer)
        send_pulse = partial(pulse.pulse.send, sender=self)
        self._timers = [
            self.timer.call_repeatedly(MAINTENANCE_SECONDS, self.pool.maintain_pool),
            self.timer.call_repeatedly(pulse.SECONDS, send_pulse),
        ]
        send_pulse()
        ahead.watch(self)
        args: tuple[Any, ...] = super().loop_args()
        return args


def _is_returnable(message: Message) -> bool:
    """Whether kombu would return it to the queue that it came from, and to no other.

    Otherwise kombu looks up the queues of its exchange, of which there may be several, or none.
    """
    delivery = message.delivery_info or {}
    return bool(delivery.get("routing_key")) and not delivery.get("exchange")


def _why_unknown(name: object, known: Iterable[str]) -> str:
    own = (each for each in known if not each.startswith(CELERYS_OWN))
    hint = registry.suggestion(str(name or ""), own)
    return f"this project has no task with its name. {hint}".rstrip(". ")
