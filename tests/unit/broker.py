"""A broker that keeps what Celery gives it, in place of a real one."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from celery import current_app
from kombu.exceptions import OperationalError
from kombu.serialization import dumps


@dataclass(frozen=True, kw_only=True)
class Message:
    """A task's message as it was published."""

    name: str
    task_id: str
    args: list[Any]
    kwargs: dict[str, Any]
    headers: dict[str, Any]
    properties: dict[str, Any]


class Broker:
    """Stands where Celery expects a producer; it can be down."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.is_down = False
        self.refusals: dict[str, Exception] = {}
        """What is raised for the message of a task id."""
        self.connection = current_app.connection_for_write()

    def batch(self) -> AbstractContextManager[None]:
        return nullcontext()

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
                properties=properties,
            )
        )
