"""``manage.py check`` reports brokers, options and queues with which promises do not hold."""

from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from django.core.checks import CheckMessage
from kombu import Queue

from jobledger.celery import configure
from jobledger.checks import broker
from jobledger.jobs import registry

REDIS, RABBITMQ = "redis://here", "amqp://here"


def found(**settings: Any) -> list[CheckMessage]:
    """What is found in an app with these Django settings."""
    app = Celery("mine", set_as_current=False)
    well = {"CELERY_BROKER_URL": REDIS, "CELERY_RESULT_BACKEND": REDIS}
    app.config_from_object(SimpleNamespace(**{**well, **settings}), namespace="CELERY")
    configure(app)
    return list(broker.check(app))


def only(**settings: Any) -> tuple[str | None, str, str]:
    (message,) = found(**settings)
    return message.id, message.msg, str(message.hint)


@pytest.mark.parametrize("url", [REDIS, "sentinel://a;sentinel://b", RABBITMQ, "amqps://here", "memory://"])
def test_supported_brokers_are_not_reported(url: str) -> None:
    assert found(CELERY_BROKER_URL=url) == []


def test_a_missing_broker_is_reported() -> None:
    name, text, hint = only(CELERY_BROKER_URL=None)
    assert (name, "redis://localhost:6379/0" in hint) == ("jobledger.W016", True)
    assert text.startswith("CELERY_BROKER_URL is not set: no worker receives runs.")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqs://key:secret@", "one malformed message stops every worker"),
        ("SQS://", "one malformed message stops every worker"),
        ("kafka://here", "is not tested"),
        ("filesystem://", "is not tested"),
    ],
)
def test_an_unsupported_broker_is_an_error_that_says_why(url: str, reason: str) -> None:
    name, text, hint = only(CELERY_BROKER_URL=url)
    kind = url.partition(":")[0]
    assert name == "jobledger.E003"
    assert text.startswith(f"CELERY_BROKER_URL is of the kind {kind!r}, which jobledger does not support: ")
    assert reason in text
    assert hint.startswith("Use Redis, Valkey or RabbitMQ, such as ")


def test_a_brokers_password_is_not_repeated() -> None:
    assert "hunter2" not in str(only(CELERY_BROKER_URL="sqs://user:hunter2@here"))


@pytest.mark.parametrize(
    ("backend", "reason"), [(None, "cannot be read"), ("rpc://", "only the process that sent a message")]
)
def test_results_that_cannot_be_read_are_reported(backend: str | None, reason: str) -> None:
    name, text, hint = only(CELERY_RESULT_BACKEND=backend)
    assert (name, reason in text, "'disabled://'" in hint) == ("jobledger.W017", True, True)


def test_no_results_at_all_are_a_choice() -> None:
    assert found(CELERY_RESULT_BACKEND="disabled://") == []


@pytest.mark.parametrize(
    ("url", "option", "value", "stake"),
    [
        (REDIS, "visibility_timeout", 5, "messages are delivered again"),
        (REDIS, "visibility_timeout", None, "messages are delivered again"),
        (REDIS, "socket_timeout", None, "a Redis that hangs also stops beat"),
        (REDIS, "max_retries", None, "beat and whoever starts a job wait"),
        (RABBITMQ, "confirm_publish", False, "is lost without an error"),
        (RABBITMQ, "max_retries", None, "beat and whoever starts a job wait"),
    ],
)
def test_an_unsafe_transport_option_is_reported(url: str, option: str, value: Any, stake: str) -> None:
    name, text, hint = only(CELERY_BROKER_URL=url, CELERY_BROKER_TRANSPORT_OPTIONS={option: value})
    named = f"CELERY_BROKER_TRANSPORT_OPTIONS[{option!r}] is {value!r}: "
    assert (name, text.startswith(named), stake in text) == ("jobledger.W015", True, True)
    assert hint.startswith("Remove it, or set it to ")


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (REDIS, {"visibility_timeout": 60, "socket_timeout": 3, "max_retries": 0, "confirm_publish": False}),
        (RABBITMQ, {"visibility_timeout": 5, "confirm_publish": True}),
    ],
)
def test_safe_options_and_those_of_other_brokers_are_not_reported(url: str, options: dict[str, Any]) -> None:
    assert found(CELERY_BROKER_URL=url, CELERY_BROKER_TRANSPORT_OPTIONS=options) == []


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"durable": False}, "not durable"),
        ({"auto_delete": True}, "deleted when its last worker stops"),
        ({"durable": False, "auto_delete": True}, "not durable and deleted when its last worker stops"),
        ({"exclusive": True}, "deleted when its last worker stops and exclusive to one connection"),
    ],
)
def test_queues_that_rabbitmq_would_lose_are_reported(properties: dict[str, Any], said: str) -> None:
    queues = [Queue("safe"), Queue("lost", **properties)]
    name, text, hint = only(CELERY_BROKER_URL=RABBITMQ, CELERY_TASK_QUEUES=queues)
    assert (name, text.partition(":")[0]) == ("jobledger.W032", f"The queue 'lost' is {said}")
    assert "quorum" in hint
    assert found(CELERY_BROKER_URL=REDIS, CELERY_TASK_QUEUES=queues) == []


def test_a_setting_is_named_as_an_app_without_a_namespace_spells_it() -> None:
    app = Celery("mine", broker=REDIS, set_as_current=False)
    configure(app)
    (message,) = broker.check(app)
    assert message.msg.startswith("result_backend is not set")


QUORUM = {
    "CELERY_TASK_DEFAULT_QUEUE_TYPE": "quorum",
    "CELERY_TASK_CREATE_MISSING_QUEUE_TYPE": "quorum",
}


@pytest.mark.parametrize("declared", [{"priority": 7}, {"priority": 0, "queue": "reports"}], ids=str)
def test_a_priority_that_has_no_effect_in_rabbitmq_is_reported(
    monkeypatch: pytest.MonkeyPatch, declared: dict[str, Any]
) -> None:
    for name, value in declared.items():
        monkeypatch.setattr(registry.find("allowing").declaration, name, value, raising=False)
    (text,) = unheeded(CELERY_BROKER_URL=RABBITMQ)
    queue = declared.get("queue", "celery")
    assert text == (
        f"The job allowing declares a priority, but its queue {queue!r} is a classic queue without "
        "priorities: it has no effect."
    )
    for heeded in QUORUM, {"CELERY_TASK_QUEUE_MAX_PRIORITY": 10}, {"CELERY_BROKER_URL": REDIS}:
        assert unheeded(**{"CELERY_BROKER_URL": RABBITMQ, **heeded}) == []


def unheeded(**settings: Any) -> list[str]:
    return [each.msg for each in found(**settings) if each.id == "jobledger.W035"]
