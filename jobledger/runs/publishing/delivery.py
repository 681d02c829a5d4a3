"""Delivery options of a schedule's messages, from django-celery-beat's fields: headers and routing.

A run keeps its routing: it is published again, and run again, as its schedule had it, even if that has been
deleted since.

Celery puts its own headers and those of a schedule into the same mapping, and turns every header into an
attribute of the task's request; with Redis, a queue is a key next to those in which kombu keeps its own data.
So headers and names that Celery or kombu need are reserved: the worst of them crash every worker that gets
the message. The admin rejects them, and ``manage.py check`` reports stored ones. Whatever is stored, this
module omits reserved headers; a name that cannot be used breaks the schedule, and fails runs queued earlier.
"""

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any, Final

from celery import current_app
from celery.app.task import Context
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import ChannelError

from jobledger.escapes import escaped, line_logger
from jobledger.jobs import json_text
from jobledger.jobs.options import OptionsError, check_bounds
from jobledger.models import Run
from jobledger.runs.publishing.job_routes import ROUTING

logger = line_logger(__name__)

KEPT_ROUTING: Final = (*ROUTING, "priority")
"""The fields of a schedule that are kept in ``Run.routing``; what they leave open, its job may declare."""
MAX_PRIORITY = 255
SCHEDULE_HEADER = "periodic_task_name"
"""Names the schedule; Celery's tools know it from django-celery-beat."""
RUN_HEADER = "jobledger_run"
"""Marks the message of a run that is in the ledger: a worker that cannot execute it may drop it.

Its value is the number of the attempt, for the log.
"""

# Headers that kombu adds to messages and reads from them.
_KOMBU_HEADERS = ("compression", "redelivered")
_KOMBU_KEYS = ("unacked_key", "unacked_index_key", "unacked_mutex_key")
"""Transport options that rename keys; the default key is the option's name without ``_key``."""
# Including those of the queues for Celery's events and remote control commands, and of brokers themselves.
_RESERVED_PREFIXES = ("_kombu.", "celery-task-meta-", "celery-taskset-meta-", "celeryev.", "amq.")
_OWN_PREFIX = "jobledger."
_RESERVED_SUFFIX = ".pidbox"


class DeliveryError(ValueError):
    """A message cannot be delivered as its schedule says; the error message is for operators."""


def headers_of(schedule: PeriodicTask | None) -> dict[str, Any]:
    """The headers to add to Celery's own. Problems with them are logged, and do not fail the run."""
    if schedule is None:
        return {}
    for problem in problems_with_headers(schedule.headers):
        logger.warning("Schedule %r: %s", schedule.name, problem)
    try:
        headers = headers_in(schedule.headers)
    except ValueError:
        headers = {}
    allowed = {name: value for name, value in headers.items() if name not in _reserved_headers()}
    return {**allowed, SCHEDULE_HEADER: schedule.name}


def headers_in(text: str) -> dict[str, Any]:
    """Parse stored headers.

    Raises ValueError with a message for operators, or OptionsError if they are larger than options may be.
    """
    headers = json_text.parse(text or "{}")
    if not isinstance(headers, dict):
        raise ValueError("this is not a JSON object, such as {}")
    check_bounds(headers, "the message headers")
    return headers


def reserved_among(headers: Collection[str]) -> list[str]:
    """The headers that Celery, kombu or this service sets itself."""
    return sorted(_reserved_headers().intersection(headers))


def routing_of(schedule: PeriodicTask | None) -> dict[str, Any]:
    """The ``routing`` of the schedule's runs, not validated."""
    return {
        name: value for name in KEPT_ROUTING if (value := getattr(schedule, name, None)) not in (None, "")
    }


def shown(run: Run) -> str:
    """The queue and the priority that a run keeps, for operators; empty if Celery's own routes decide."""
    if problem := json_text.problem_with(run.routing):
        return problem
    names = {"queue": "", "exchange": "exchange ", "routing_key": "routing key ", "priority": "priority "}
    return ", ".join(f"{prefix}{run.routing[name]}" for name, prefix in names.items() if name in run.routing)


def validated_routing(routing: Mapping[str, Any]) -> dict[str, Any]:
    """A run's routing, as options for sending its message. Raises DeliveryError."""
    if problem := _problem_with_routing(routing):
        raise DeliveryError(problem)
    return {name: routing[name] for name in KEPT_ROUTING if name in routing}


def problems_with_headers(text: str) -> Iterator[str]:
    """What is wrong with the stored headers, and what that means for the messages."""
    try:
        reserved = reserved_among(headers_in(text))
    except OptionsError as error:
        yield f"its message headers are not sent, because they are too large: {error}"
    except ValueError as error:
        yield f"its message headers are not sent, because their JSON is not accepted: {error}"
    else:
        if reserved:
            yield f"its message headers {', '.join(reserved)} are not sent, because Celery sets them itself"


def why_unroutable(schedule: PeriodicTask) -> str:
    """Why no message of the schedule can be delivered; empty if its routing can be used."""
    return _problem_with_routing(routing_of(schedule))


def problem_with_name(name: Any) -> str:
    """Why the name cannot be used for routing; empty if it can."""
    if name is None or name == "":
        return ""
    if not isinstance(name, str):
        return "it is not a text"
    if escaped(name) != name:
        return "it contains a control character"
    if any(map(str.isspace, name)):
        return "it contains whitespace"
    if "," in name:
        return "it contains a comma, which separates queues in a worker's -Q option"
    if name.startswith(_OWN_PREFIX):
        return "it is reserved by this service"
    return "it is reserved by Celery" if _is_reserved(name) else ""


def refuses_one_message(error: BaseException | None) -> bool:
    """Whether a broker's error concerns only this message, so that the broker would accept others.

    Redis returns such errors for a queue whose key has another type, or that this user may not write to;
    RabbitMQ for an exchange that does not exist, for a queue that exists with other properties, for one that
    this user may not write to, and for a message that is too large.
    """
    while error is not None:
        text = str(error)
        if "WRONGTYPE" in text or ("NOPERM" in text and "key" in text):
            return True
        if isinstance(error, ChannelError):
            return True
        error = error.__cause__
    return False


def _problem_with_routing(routing: Mapping[str, Any]) -> str:
    if problem := json_text.problem_with(routing):
        return f"its routing cannot be used: {problem}"
    priority = routing.get("priority")
    if priority is not None and not _is_priority(priority):
        return f"its priority {priority!r} cannot be used: it is not a whole number from 0 to {MAX_PRIORITY}"
    for field in ROUTING:
        name = routing.get(field, "")
        if problem := problem_with_name(name):
            return f"its {field.replace('_', ' ')} {name!r} cannot be used: {problem}"
    return ""


def _is_priority(value: Any) -> bool:
    # True is an integer, too.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_PRIORITY


@cache
def _reserved_headers() -> frozenset[str]:
    sent = current_app.amqp.create_task_message("", "", (), {}).headers
    return frozenset({*sent, *dir(Context), *_KOMBU_HEADERS, SCHEDULE_HEADER, RUN_HEADER})


def _is_reserved(name: str) -> bool:
    is_part = name.startswith(_RESERVED_PREFIXES) or name.endswith(_RESERVED_SUFFIX)
    return is_part or name == "celeryev" or name in _kombu_keys()


def _kombu_keys() -> set[str]:
    options = current_app.conf.broker_transport_options
    return {options.get(option, option.removesuffix("_key")) for option in _KOMBU_KEYS}
