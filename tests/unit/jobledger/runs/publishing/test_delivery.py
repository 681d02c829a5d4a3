"""A schedule's headers and routing cannot interfere with those that Celery and kombu need."""

from typing import Any

import pytest
from amqp.exceptions import ConnectionForced, NotFound, PreconditionFailed
from celery import current_app
from django_celery_beat.models import PeriodicTask
from kombu.exceptions import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError

from jobledger.runs.publishing import delivery
from jobledger.runs.publishing.job_routes import ROUTING
from tests.unit.broker import Broker


def scheduled(**values: Any) -> PeriodicTask:
    return PeriodicTask(name="mine", **values)


@pytest.mark.parametrize(
    "name",
    ["id", "task", "timelimit", "stamps", "expires", "eta", "retries", "shadow", "compression", "update"],
)
def test_celerys_own_headers_are_not_sent(name: str, caplog: pytest.LogCaptureFixture) -> None:
    headers = delivery.headers_of(scheduled(headers=f'{{"{name}": ["x"], "tenant": "a"}}'))
    assert headers == {"tenant": "a", "periodic_task_name": "mine"}
    assert caplog.messages == [
        f"Schedule 'mine': its message headers {name} are not sent, because Celery sets them itself"
    ]


def test_every_header_that_celery_sends_is_reserved(broker: Broker) -> None:
    current_app.send_task(
        "probes.probe", task_id="1", ignore_result=True, headers={"periodic_task_name": "mine"}
    )
    (message,) = broker.messages
    assert delivery.reserved_among(message.headers) == sorted(message.headers)


@pytest.mark.parametrize("text", ["{", "[1]", "null", '{"a": NaN}', '{"a":' * 60 + "1" + "}" * 60])
def test_headers_that_are_not_a_json_object_are_not_sent(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert delivery.headers_of(scheduled(headers=text)) == {"periodic_task_name": "mine"}
    assert "its message headers are not sent" in caplog.text


def test_headers_larger_than_options_may_be_are_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    schedule = scheduled(headers=f'{{"x": "{"A" * 1_500_000}"}}')
    assert delivery.headers_of(schedule) == {"periodic_task_name": "mine"}
    (message,) = caplog.messages
    assert message.startswith(
        "Schedule 'mine': its message headers are not sent, because they are too large: "
    )
    assert message.endswith(
        ": 1,500,009 bytes as JSON are more than the 65,536 allowed (RUN_OPTIONS_LIMIT_BYTES)"
    )


@pytest.mark.parametrize("field", ROUTING)
@pytest.mark.parametrize(
    "name",
    [
        "_kombu.binding.celery",
        "_kombu.binding_deadlines",
        "unacked",
        "unacked_index",
        "unacked_mutex",
        "celery-task-meta-1",
        "jobledger.dead_letters",
        "celery\x06\x163",
        "amq.direct",
        "celeryev",
        "celeryev.5f1c",
        "celery@here.celery.pidbox",
        "5f1c.reply.celery.pidbox",
        "slow,fast",
        "slow queue",
        "slow\u00a0",
        "slow\u202e",
    ],
)
def test_reserved_and_impossible_names_cannot_be_used_for_routing(field: str, name: str) -> None:
    with pytest.raises(delivery.DeliveryError, match=f"its {field.replace('_', ' ')} '"):
        delivery.validated_routing({field: name})


def test_a_renamed_key_of_kombu_is_reserved_instead_of_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf.broker_transport_options, "unacked_key", "ours")
    assert delivery.problem_with_name("ours")
    assert not delivery.problem_with_name("unacked")


@pytest.mark.parametrize(
    "name", ["", "celery", "slow", "unacknowledged", "billing.high-priority", "größe", "amqp"]
)
def test_other_names_can_be_used(name: str) -> None:
    assert delivery.problem_with_name(name) == ""
    routing = delivery.routing_of(scheduled(queue=name or None))
    assert delivery.validated_routing(routing) == ({"queue": name} if name else {})


def caused_by(cause: Exception) -> Exception:
    error = OperationalError("Redis publish batch failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("answer", "is_its_own"),
    [
        (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), True),
        (ResponseError("NOPERM No permissions to access a key"), True),
        (ResponseError("NOPERM this user has no permissions to run the 'lpush' command"), False),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), False),
        (RedisConnectionError("Connection refused"), False),
        (NotFound("no exchange 'nope'", (60, 40), reply_code=404), True),
        (PreconditionFailed("inequivalent arg 'x-queue-type'", (50, 10), reply_code=406), True),
        (ConnectionForced("CONNECTION_FORCED", (10, 50), reply_code=320), False),
    ],
    ids=str,
)
def test_an_error_about_one_message_does_not_count_as_a_broker_that_is_down(
    answer: Exception, is_its_own: bool
) -> None:
    assert delivery.refuses_one_message(caused_by(answer)) is is_its_own
