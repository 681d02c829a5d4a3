"""A broker that keeps what Celery gives it, in place of a real one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from celery import current_app
from kombu.exceptions import BatchPublishError, OperationalError  # type: ignore[attr-defined]  # stubs of kombu 5.6
from kombu.serialization import dumps


@dataclass(frozen=True, kw_only=True)
class Message:
    """A task's message as it was published."""

    name: str
    task_id: str
    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]
    serializer: str
    properties: dict[str, Any]


class Broker:
    """Stands where Celery expects a producer; it can be down."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.is_down = False
        self.refusals: dict[str, Exception] = {}
        """What is raised for the message of a task id."""
        self.batch_error: Exception | None = None
        """What is raised at the end of a batch, whose messages then have not arrived."""
        self.connection = current_app.connection_for_write()

    @contextmanager
    def batch(self) -> Iterator[None]:
        before = list(self.messages)
        yield
        if self.batch_error is not None:
            self.messages = before
            raise BatchPublishError("Redis publish batch failed") from self.batch_error

    def publish(self, body: Any, *, headers: dict[str, Any], serializer: str, **properties: Any) -> None:
        if self.is_down:
            raise OperationalError("Connection refused")
        if refusal := self.refusals.get(headers["id"]):
            raise refusal
        dumps(body, serializer=serializer)
        args, kwargs, _ = body
        self.messages.append(
            Message(
                name=headers["task"],
                task_id=headers["id"],
                args=args,
                kwargs=kwargs,
                headers=headers,
                serializer=serializer,
                properties=properties,
            )
        )
