"""Dead letters: what a worker cannot take in is kept, first in Redis, then in the ledger.

The worker's main process puts a record of the message into a stream in Redis, where the message came from: it
must not wait for the database, and the record outlives the process. A thread moves the records into the
ledger, whenever the database takes them. Both keep the newest thousand. A record has the beginning of the
message and why it is one; one line of the log says that there is one, without any of its contents.
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
from django.conf import settings
from django.db import Error
from django.utils import timezone
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobledger.escapes import line_logger
from jobledger.jobs import secrets
from jobledger.models import DeadLetter
from jobledger.runs.execution.forks import between_forks, close_connections
from jobledger.runs.worker.requests import masked_headers

logger = line_logger(__name__)

STREAM = "jobledger.dead_letters"
MAX_KEPT = 1000
MOVED_AT_ONCE = 100
MAX_CONTENT_LENGTH = 4096
"""Characters."""
DEFAULT_MESSAGE_LIMIT_BYTES = 1024 * 1024
TRY_EVERY_SECONDS = 10.0

_TEXTS: dict[str, int] = {
    name: getattr(DeadLetter._meta.get_field(name), "max_length", 0)
    for name in ("worker", "queue", "task", "task_id", "reason")
}
"""The fields that are short texts, and how long they may be."""


def message_limit_bytes() -> int:
    """How large a message may be."""
    return int(getattr(settings, "MESSAGE_LIMIT_BYTES", DEFAULT_MESSAGE_LIMIT_BYTES))


def unreadable(item: bytes, reason: str, *, queue: str = "") -> DeadLetter:
    """Of a message of which nothing is known but its bytes."""
    text = item[: 4 * MAX_CONTENT_LENGTH].decode(errors="backslashreplace")
    return _made(reason=reason, queue=queue, size=len(item), content=text)


def undeliverable(message: Any, reason: str) -> DeadLetter:
    """Of a kombu message, whose envelope could be read."""
    headers: Mapping[str, Any] = message.headers or {}
    task, delivery = _text(headers.get("task")), message.delivery_info or {}
    body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="replace")
    shown_body = secrets.masked_text(task, body[:MAX_CONTENT_LENGTH].decode(errors="backslashreplace"))
    parts = {"headers": masked_headers(headers), "body": shown_body}
    return _made(
        reason=reason,
        queue=_text(delivery.get("routing_key")),
        task=task,
        task_id=_text(headers.get("id")),
        size=len(body),
        content=json.dumps(parts, default=str),
    )


def keep(channel: Any, letter: DeadLetter) -> None:
    """Keep a record of a message that is not going to be delivered, and say so in one line of the log.

    ``channel`` is the one that it came by. Raises what Redis raises when it is gone.
    """
    letter.worker = _mover.worker
    text = "A message from the queue '%s' is a dead letter: %s (%d bytes, %s)"
    logger.error(text, letter.queue, letter.reason, letter.size, letter.pk)
    _store(channel, letter)
    _mover.wake()


def connect() -> None:
    """Move them into the ledger, in every worker that gets ready from now on."""
    worker_ready.connect(_mover.start, weak=False, dispatch_uid="jobledger.dead_letters")


def move_all() -> None:
    """Move what is kept into the ledger. Raises what the database and the broker raise, and loses nothing."""
    while _in_memory:
        _record([_in_memory[0]])
        _in_memory.popleft()
    with current_app.connection_for_read() as connection:
        channel = connection.default_channel
        if not hasattr(channel, "conn_or_acquire"):
            return
        with channel.conn_or_acquire() as client:
            while found := client.xrange(_key(channel), count=MOVED_AT_ONCE):
                _record([_loaded(fields) for _, fields in found])
                client.xdel(_key(channel), *(entry for entry, _ in found))


def is_moved() -> bool:
    """Move all; False, and a line in the log, when the database or the broker is away."""
    try:
        move_all()
    except Error as error:
        logger.warning("Dead letters stay in Redis until the database takes them: %s", error)
        return False
    except (OSError, OperationalError, RedisError) as error:
        logger.warning("Dead letters cannot be read from Redis yet: %s", error)
        return False
    return True


class _Mover:
    """The thread that moves them."""

    def __init__(self) -> None:
        self._is_wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self.worker = ""
        """The name of the worker that this process is."""

    def start(self, sender: Any = None, **kwargs: object) -> None:
        """Begin with what an earlier worker left."""
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
            self._is_wanted.wait(None if is_complete else TRY_EVERY_SECONDS)
            self._is_wanted.clear()
            is_complete = is_moved()


_mover = _Mover()
_in_memory: deque[DeadLetter] = deque(maxlen=MAX_KEPT)
"""Where the broker is not Redis."""


def _store(channel: Any, letter: DeadLetter) -> None:
    if not hasattr(channel, "conn_or_acquire"):
        _in_memory.append(letter)
        return
    record = {name: getattr(letter, name) for name in (*_TEXTS, "size", "content")}
    record |= {"id": str(letter.pk), "received_at": letter.received_at.isoformat()}
    with channel.conn_or_acquire() as client:
        entry = {"letter": json.dumps(record)}
        client.xadd(_key(channel), entry, maxlen=MAX_KEPT, approximate=False)


def _key(channel: Any) -> str:
    # kombu prefixes the keys of the commands that it knows, and this is none of them.
    return f"{channel.global_keyprefix}{STREAM}"


def _loaded(fields: Mapping[bytes, bytes]) -> DeadLetter:
    """A record as it was kept; of one that somebody else put there, that it is none."""
    with suppress(KeyError, ValueError, TypeError, AttributeError):
        record = json.loads(fields[b"letter"])
        letter = _made(**{name: record[name] for name in (*_TEXTS, "content")}, size=record["size"])
        letter.pk, letter.received_at = UUID(record["id"]), datetime.fromisoformat(record["received_at"])
        return letter
    return _made(reason="the record of a dead letter cannot be read", size=0)


def _record(letters: list[DeadLetter]) -> None:
    """Write them, and delete those beyond the newest thousand. Writing one a second time does nothing."""
    try:
        with between_forks():
            DeadLetter.objects.bulk_create(letters, ignore_conflicts=True)
            for oldest in DeadLetter.objects.all()[MAX_KEPT : MAX_KEPT + 1]:
                DeadLetter.objects.filter(received_at__lte=oldest.received_at).delete()
    finally:
        close_connections()


def _made(*, size: int, content: str = "", **texts: Any) -> DeadLetter:
    """With texts that fit, that any database takes, and that no terminal obeys."""
    fitting = {name: _printable(_text(text))[: _TEXTS[name]] for name, text in texts.items()}
    content = _printable(content)[:MAX_CONTENT_LENGTH]
    return DeadLetter(received_at=timezone.now(), size=min(int(size), 2**63 - 1), content=content, **fitting)


def _printable(text: str) -> str:
    """The text in one line, with escapes for what cannot be printed."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
