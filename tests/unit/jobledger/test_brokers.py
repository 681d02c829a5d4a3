"""What a URL of Celery's says about the broker."""

import pytest

from jobledger import brokers


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://a", "Redis"),
        ("rediss://a/1", "Redis"),
        ("redis+socket:///a", "Redis"),
        (["sentinel://a", "sentinel://b"], "Redis"),
        ("amqp://a;amqp://b", "RabbitMQ"),
        ("amqps://a", "RabbitMQ"),
        ("pyamqp://", "RabbitMQ"),
        ("memory://", "The broker"),
        (None, "The broker"),
    ],
)
def test_operators_know_it_by_name(url: object, name: str) -> None:
    assert brokers.name_of(url) == name
    assert (brokers.uses_redis(url), brokers.uses_rabbitmq(url)) == (name == "Redis", name == "RabbitMQ")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://a", "Redis, with the same database number and REDIS_KEY_PREFIX"),
        ("amqp://a", "RabbitMQ, with the same virtual host"),
        ("memory://", "broker"),
    ],
)
def test_what_processes_must_have_in_common_is_said(url: str, said: str) -> None:
    assert brokers.whole_name_of(url) == said


@pytest.mark.parametrize("url", ["redis://a", "amqp://a", "memory://", "memory:"])
def test_supported_brokers_need_no_reason(url: str) -> None:
    assert brokers.why_unsupported(url) == ""


@pytest.mark.parametrize("url", ["sqs://", "SQS://", "mongodb://a", "sqla+postgresql://a", ["sqs://"]])
def test_others_have_one(url: object) -> None:
    assert brokers.why_unsupported(url)
