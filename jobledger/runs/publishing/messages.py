"""Messages: how a run's message is made and handed to the broker, thousands in a row.

``Celery.send_task`` reads its settings, declares the queue and makes a result for every single message,
which is most of a message's cost when thousands of runs are published at the same second. Here Celery makes
one message of those that differ in their ids and headers alone, and the others are copies of it.

No result backend is asked: one that is down cannot stop a message.
"""

from dataclasses import dataclass
from typing import Any

from celery import current_app, signals
from kombu import Producer
from kombu.serialization import dumps

LONGEST_REPR = 1024
"""How much of the arguments those see who watch the messages; Celery's own limit."""


@dataclass(frozen=True, kw_only=True)
class _Mould:
    """What some messages have in common."""

    body: str | bytes
    headers: dict[str, Any]
    options: dict[str, Any]
    made_of: tuple[object, ...]
    """Kept alive, as they are known by being the same ones."""


class _Keeper:
    """In a producer's place: keeps a message instead of publishing it."""

    body: Any
    options: dict[str, Any]

    def publish(self, body: Any, **options: Any) -> None:
        self.body, self.options = body, options


class Sender:
    """Sends messages through one producer. A queue is declared before its first message, and only then."""

    def __init__(self, producer: Producer) -> None:
        """For as long as the producer is held."""
        self._producer = producer
        self._amqp = current_app.amqp
        self._is_event_wanted = bool(current_app.conf.task_send_sent_event)
        self._moulds: dict[tuple[object, ...], _Mould] = {}
        self._declared: set[str] = set()

    def send_job(
        self,
        name: str,
        *,
        task_id: str,
        args: list[Any],
        kwargs: dict[str, Any],
        shown: dict[str, Any] | None = None,
        ignore_result: bool = True,
        headers: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Send a job's message. The options are where it goes, as ``send_task`` takes them.

        ``shown`` is what those see who watch the messages: the keyword arguments without secrets. A list or
        dictionary that is given a second time says the same as the first time.
        """
        made_of = (args, kwargs, shown)
        if self._is_each_message_asked_about:
            self._publish(
                self._producer, name, task_id, made_of, ignore_result, {"headers": headers, **options}
            )
            return
        declare: list[Any] = []
        key = (name, ignore_result, *map(id, made_of), *sorted(options.items()))
        if key not in self._moulds:
            self._publish(keeper := _Keeper(), name, task_id, made_of, ignore_result, options)
            declare = keeper.options.pop("declare") or []
            self._moulds[key] = _mould(keeper, made_of)
        mould = self._moulds[key]
        self._producer.publish(
            mould.body,
            headers={**mould.headers, "id": task_id, "root_id": task_id, **(headers or {})},
            correlation_id=task_id,
            declare=declare,
            **mould.options,
        )

    def send_ordinary(
        self,
        name: str,
        *,
        task_id: str,
        args: list[Any],
        kwargs: dict[str, Any],
        shown: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Send an ordinary task's message, by the road that knows the options its author gave the task."""
        current_app.send_task(
            name,
            args=args,
            kwargs=kwargs,
            kwargsrepr=_brief(kwargs if shown is None else shown),
            task_id=task_id,
            ignore_result=True,
            producer=self._producer,
            retry=False,
            **options,
        )

    @property
    def _is_each_message_asked_about(self) -> bool:
        """Whether somebody decides where each message goes, or is told of each."""
        listeners = (signals.before_task_publish, signals.after_task_publish, signals.task_sent)
        is_heard = self._is_event_wanted or any(signal.receivers for signal in listeners)
        # In the older protocol a message has its id in its body.
        return is_heard or bool(self._amqp.routes) or current_app.conf.task_protocol != 2

    def _publish(
        self,
        producer: Any,
        name: str,
        task_id: str,
        made_of: tuple[list[Any], dict[str, Any], dict[str, Any] | None],
        ignore_result: bool,  # noqa: FBT001 - one of several values, as with those around it
        options: dict[str, Any],
    ) -> None:
        """Have Celery make the message and give it to the producer."""
        args, kwargs, shown = made_of
        message = self._amqp.create_task_message(
            task_id,
            name,
            args,
            kwargs,
            create_sent_event=self._is_event_wanted,
            ignore_result=ignore_result,
            argsrepr=_brief(args or ()),
            kwargsrepr=_brief(kwargs if shown is None else shown),
        )
        route = self._route(name, args, kwargs, options)
        declare = self._to_declare(route["queue"].name)
        self._amqp.send_task_message(producer, name, message, retry=False, declare=declare, **route)

    def _route(
        self, name: str, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any]
    ) -> dict[str, Any]:
        """The options with the queue, as an object, among them."""
        if not self._amqp.routes:
            # There is no rule to ask; the router would read the default from the settings each time.
            options = {"queue": self._amqp.default_queue, **options}
        route: dict[str, Any] = self._amqp.router.route(options, name, tuple(args), kwargs)
        return route

    def _to_declare(self, queue: str) -> list[Any] | None:
        """None leaves it to Celery, which declares the queue."""
        if queue in self._declared:
            return []
        self._declared.add(queue)
        return None


def _mould(keeper: _Keeper, made_of: tuple[object, ...]) -> _Mould:
    options = dict(keeper.options)
    headers = options.pop("headers")
    del options["correlation_id"]
    content_type, content_encoding, body = dumps(keeper.body, serializer=options.pop("serializer"))
    encoded = {"content_type": content_type, "content_encoding": content_encoding}
    return _Mould(body=body, headers=headers, options={**options, **encoded}, made_of=made_of)


def _brief(arguments: object) -> str:
    text = repr(arguments)
    return text if len(text) <= LONGEST_REPR else f"{text[: LONGEST_REPR - 3]}..."
