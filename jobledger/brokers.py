"""Which message broker a URL of Celery's names, what operators call it, and why some cannot be used. Pure."""

from collections.abc import Mapping

_REDIS = ("redis", "rediss", "redis+socket", "sentinel")
_RABBITMQ = ("amqp", "amqps", "pyamqp")
_MEMORY = "memory"
_SQS = "sqs"

_UNSUPPORTED: Mapping[str, str] = {
    _SQS: "one malformed message stops every worker that receives it, priorities are ignored, and "
    "there is no server to test with",
}
_UNTESTED = "whether runs survive its failures, and its workers malformed messages, is not tested"


def scheme(url: object) -> str:
    """The scheme of a URL, or of the first in a list of URLs."""
    first = url[0] if isinstance(url, list | tuple) and url else url
    return str(first or "").partition("://")[0]


def uses_redis(url: object) -> bool:
    """Whether this is the URL of a Redis server, or a list of such URLs."""
    return scheme(url) in _REDIS


def uses_rabbitmq(url: object) -> bool:
    """Whether this is the URL of a RabbitMQ server, or a list of such URLs."""
    return scheme(url) in _RABBITMQ


def name_of(url: object) -> str:
    """What operators call it."""
    if uses_redis(url):
        return "Redis"
    return "RabbitMQ" if uses_rabbitmq(url) else "The broker"


def whole_name_of(url: object) -> str:
    """Everything that two processes have to have in common to reach the same queues."""
    if uses_redis(url):
        return "Redis, with the same database number and REDIS_KEY_PREFIX"
    return f"{name_of(url)}, with the same virtual host" if uses_rabbitmq(url) else "broker"


def why_unsupported(url: object) -> str:
    """Why the service does not work, or is not tested, with this broker; empty if it is supported."""
    name = scheme(url).lower()
    if uses_redis(url) or uses_rabbitmq(url) or name.partition(":")[0] == _MEMORY:
        return ""
    return _UNSUPPORTED.get(name, _UNTESTED)
