"""Messages: how a run's message is made and handed to the broker, thousands in a row.

``Celery.send_task`` reads its settings, declares the queue and makes a result for every single message,
which is most of a message's cost when thousands of runs are published at the same second. A ``Sender``
makes the same message of the same parts, and does once what is the same for all of them.

No result backend is asked: one that is down cannot stop a message.
"""

from typing import Any

from celery import current_app
from kombu import Producer

LONGEST_REPR = 1024
"""How much of the arguments those see who watch the messages; Celery's own limit."""


class Sender:
    """Sends messages through one producer. A queue is declared before its first message, and only then."""

    def __init__(self, producer: Producer) -> None:
        """For as long as the producer is held."""
        self._producer = producer
        self._amqp = current_app.amqp
        self._is_event_wanted = bool(current_app.conf.task_send_sent_event)
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
        **options: Any,
    ) -> None:
        """Send a job's message. The options are where it goes, as ``send_task`` takes them.

        ``shown`` is what those see who watch the messages: the keyword arguments without secrets.
        """
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
        self._amqp.send_task_message(self._producer, name, message, retry=False, declare=declare, **route)

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


def _brief(arguments: object) -> str:
    text = repr(arguments)
    return text if len(text) <= LONGEST_REPR else f"{text[: LONGEST_REPR - 3]}..."
