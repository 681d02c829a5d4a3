"""Dead letters: messages that a worker cannot process are kept, first in the broker, then in the ledger.

The worker's main process adds a record of the message to a stream in Redis, or to a queue in RabbitMQ, where
the message came from: it must not wait for the database, and the record outlives the process. A thread moves
the records into the ledger when the database is available. Both keep the newest thousand. A record contains
the beginning of the message and the reason; one line in the log reports the dead letter without any of its
contents, but for the name of a task that nobody knows.
"""

import json
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from celery import current_app
from celery.signals import worker_ready
from django.db import Error
from django.utils import timezone
from kombu import Producer, Queue
from kombu.exceptions import ChannelError, ConnectionError, OperationalError  # noqa: A004 - RabbitMQ's
from redis.exceptions import RedisError

from jobledger import brokers
from jobledger.escapes import escaped, line_logger
from jobledger.jobs import json_text, secrets
from jobledger.models import DeadLetter
from jobledger.runs.processes.forks import between_forks, close_connections
from jobledger.runs.worker.messages.requests import masked_headers

logger = line_logger(__name__)

STREAM = "jobledger.dead_letters"
"""The name of the stream, or of the queue."""
MAX_KEPT = 1000
MOVE_BATCH = 100
MAX_CONTENT_LENGTH = 4096
"""Characters."""
RETRY_SECONDS = 10.0
SEND_SECONDS = 10

_UNAVAILABLE = (OSError, OperationalError, RedisError, ConnectionError, ChannelError)
_TEXTS: dict[str, int] = {
    name: getattr(DeadLetter._meta.get_field(name), "max_length", 0)
    for name in ("worker", "queue", "task", "task_id", "reason")
}
"""The fields for short texts, and their maximum lengths."""


def unreadable(item: bytes, reason: str, *, queue: str = "") -> DeadLetter:
    """A dead letter for a message that cannot be parsed."""
    text = item[: 4 * MAX_CONTENT_LENGTH].decode(errors="backslashreplace")
    return _dead_letter(reason=reason, queue=queue, size=len(item), content=text)


def undeliverable(message: Any, reason: str) -> DeadLetter:
    """A dead letter for a kombu message, whose envelope could be parsed."""
    headers: Mapping[str, Any] = message.headers or {}
    task, delivery = _text(headers.get("task")), message.delivery_info or {}
    body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="replace")
    masked_body = secrets.masked_text(task, body[:MAX_CONTENT_LENGTH].decode(errors="backslashreplace"))
    parts = {"headers": masked_headers(headers), "body": masked_body}
    return _dead_letter(
        reason=reason,
        queue=_text(delivery.get("routing_key")),
        task=task,
        task_id=_text(headers.get("id")),
        size=len(body),
        content=json.dumps(parts, default=str),
    )


def keep(channel: Any, letter: DeadLetter, *, names_task: bool = False) -> None:
    """Keep a record of a message that will not be processed, and log one line about it.

    The line names the message's task only if that is known to be well-formed.

    ``channel`` is the one that delivered the message. Raises the broker's errors if it is unavailable.
    """
    letter.worker = _mover.worker
    text = "A message%s from queue '%s' is a dead letter: %s (%d bytes, %s)"
    task = f" of task '{letter.task}'" if names_task else ""
    logger.error(text, task, letter.queue, letter.reason, letter.size, letter.pk)
    _store(channel, letter)
    _mover.wake()


def connect() -> None:
    """Have every worker that becomes ready from now on move dead letters into the ledger."""
    worker_ready.connect(_mover.start, weak=False, dispatch_uid="jobledger.dead_letters")


def move_all() -> None:
    """Move all dead letters into the ledger. Raises errors of the database and the broker; none get lost."""
    while _in_memory:
        _record([_in_memory[0]])
        _in_memory.popleft()
    with current_app.connection_for_read() as connection:
        channel: Any = connection.default_channel
        if hasattr(channel, "conn_or_acquire"):
            _move_from_redis(channel)
        elif brokers.uses_rabbitmq(current_app.conf.broker_url):
            _move_from_rabbitmq(channel)


def _move_from_redis(channel: Any) -> None:
    with channel.conn_or_acquire() as client:
        while found := client.xrange(_key(channel), count=MOVE_BATCH):
            _record([_loaded(fields.get(b"letter", b"")) for _, fields in found])
            client.xdel(_key(channel), *(entry for entry, _ in found))


def _move_from_rabbitmq(channel: Any) -> None:
    queue = _queue(channel)
    queue.declare()
    while (message := queue.get()) is not None:
        _record([_loaded(message.body)])
        message.ack()


def try_to_move_all() -> bool:
    """Move all dead letters; logs and returns False if the database or the broker is unavailable."""
    try:
        move_all()
    except Error as error:
        broker = brokers.name_of(current_app.conf.broker_url)
        logger.warning("Dead letters stay in %s until the database is available: %s", broker, error)
        return False
    except _UNAVAILABLE as error:
        broker = brokers.name_of(current_app.conf.broker_url)
        logger.warning("Could not read dead letters from %s yet: %s", broker, error)
        return False
    return True


class _Mover:
    """The thread that moves dead letters into the ledger."""

    def __init__(self) -> None:
        self._is_wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self.worker = ""
        """The name of this worker."""

    def start(self, sender: Any = None, **kwargs: object) -> None:
        """Start the thread, which first moves whatever an earlier worker has left."""
        self.worker = str(getattr(sender, "hostname", ""))[: _TEXTS["worker"]]
        if self._thread is None or not self._thread.is_alive():
            self.wake()
            self._thread = threading.Thread(target=self._move, name="dead letters", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        self._is_wanted.set()

    def _move(self) -> None:
        is_complete = True
        while True:
            self._is_wanted.wait(None if is_complete else RETRY_SECONDS)
            self._is_wanted.clear()
            is_complete = try_to_move_all()


_mover = _Mover()
_in_memory: deque[DeadLetter] = deque(maxlen=MAX_KEPT)
"""Used if the broker is neither Redis nor RabbitMQ, such as that of unit tests."""


def _store(channel: Any, letter: DeadLetter) -> None:
    record = {name: getattr(letter, name) for name in (*_TEXTS, "size", "content")}
    record |= {"id": str(letter.pk), "received_at": letter.received_at.isoformat()}
    if hasattr(channel, "conn_or_acquire"):
        with channel.conn_or_acquire() as client:
            entry = {"letter": json.dumps(record)}
            client.xadd(_key(channel), entry, maxlen=MAX_KEPT, approximate=False)
    elif brokers.uses_rabbitmq(current_app.conf.broker_url):
        _send_to_rabbitmq(json.dumps(record))
    else:
        _in_memory.append(letter)


def _send_to_rabbitmq(record: str) -> None:
    """Through a connection of its own: while waiting for the confirmation, the worker's receives messages."""
    with current_app.connection_for_write() as connection:
        queue = _queue(connection.channel())
        Producer(queue.channel).publish(
            record,
            routing_key=STREAM,
            declare=[queue],
            content_type="application/json",
            content_encoding="utf-8",
            timeout=SEND_SECONDS,
        )


def _queue(channel: Any) -> Any:
    arguments = {"x-queue-type": "quorum", "x-max-length": MAX_KEPT, "x-overflow": "drop-head"}
    return Queue(STREAM, channel=channel, queue_arguments=arguments)


def _key(channel: Any) -> str:
    # kombu prefixes the keys only of the commands that it uses itself.
    return f"{channel.global_keyprefix}{STREAM}"


def _loaded(record: bytes | str) -> DeadLetter:
    """The dead letter of a stored record, or a dead letter about the record if that cannot be parsed."""
    with suppress(KeyError, ValueError, TypeError, AttributeError):
        read = json_text.parse(record if isinstance(record, str) else record.decode())
        letter = _dead_letter(**{name: read[name] for name in (*_TEXTS, "content")}, size=read["size"])
        letter.pk, letter.received_at = UUID(read["id"]), datetime.fromisoformat(read["received_at"])
        return letter
    return _dead_letter(reason="the record of a dead letter cannot be parsed", size=0)


def _record(letters: list[DeadLetter]) -> None:
    """Save the dead letters, and delete all but the newest thousand. Saving one twice has no effect."""
    try:
        with between_forks():
            DeadLetter.objects.bulk_create(letters, ignore_conflicts=True)
            for oldest in DeadLetter.objects.all()[MAX_KEPT : MAX_KEPT + 1]:
                DeadLetter.objects.filter(received_at__lte=oldest.received_at).delete()
    finally:
        close_connections()


def _dead_letter(*, size: int, content: str = "", **texts: Any) -> DeadLetter:
    """A dead letter with texts that fit their columns and are safe for any database and terminal."""
    fitting = {name: escaped(_text(text))[: _TEXTS[name]] for name, text in texts.items()}
    content = escaped(content)[:MAX_CONTENT_LENGTH]
    return DeadLetter(received_at=timezone.now(), size=min(int(size), 2**63 - 1), content=content, **fitting)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
