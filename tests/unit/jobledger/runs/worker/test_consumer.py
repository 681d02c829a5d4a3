"""A worker that loses the broker, and a child meanwhile, goes on."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery import current_app
from celery.concurrency.base import BasePool
from celery.exceptions import NotRegistered
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.transport import redis
from kombu.transport.redis import QoS
from redis.exceptions import ConnectionError as RedisConnectionError

from jobledger.runs.worker import dead_letters
from jobledger.runs.worker.consumer import Consumer
from jobledger.runs.worker.kombu_internals import guarded
from tests.unit.jobledger.runs.worker.builders import received


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done, in order; Celery's own part needs a whole worker around it."""
    done: list[str] = []
    for name in "loop_args", "on_connection_error_after_connected":
        monkeypatch.setattr(CeleryConsumer, name, lambda *args, name=name: done.append(name))
    return done


@pytest.fixture
def consumer(done: list[str]) -> Consumer:
    """A consumer without the worker around it."""
    made = Consumer.__new__(Consumer)
    made.pool = SimpleNamespace(maintain_pool=lambda: done.append("pool is complete"))
    made.task_consumer = SimpleNamespace(channel=SimpleNamespace(do_restore=True))
    return made


def test_dead_children_are_replaced_before_the_loop_looks_at_them(
    consumer: Consumer, done: list[str]
) -> None:
    consumer.loop_args()
    assert done == ["pool is complete", "loop_args"]


def test_messages_of_a_lost_connection_are_let_go(
    consumer: Consumer, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = SimpleNamespace(acknowledged=False)
    monkeypatch.setattr(state, "reserved_requests", {id(request): request}.values())
    consumer.on_connection_error_after_connected(cast("Any", ConnectionError("gone")))
    assert request.acknowledged
    assert not consumer.task_consumer.channel.do_restore
    assert done == ["on_connection_error_after_connected"]


# What the consumer uses of Celery and kombu beyond what they document: these fail when a release changes it.


def test_celery_does_not_acknowledge_what_is_acknowledged() -> None:
    acknowledged: list[bool] = []
    request = received("1", on_ack=lambda *args: acknowledged.append(True))
    request.acknowledged = True
    request.acknowledge()
    assert acknowledged == []


def test_celery_has_requests_that_are_under_way_among_the_reserved_ones() -> None:
    state.task_reserved(request := received("1"))
    state.task_accepted(request)
    assert request in state.reserved_requests


def test_celery_s_pools_can_replace_children_that_have_died() -> None:
    assert callable(BasePool.maintain_pool)


@pytest.mark.parametrize(("restores", "restored"), [(True, [1]), (False, [])])
def test_a_channel_of_kombu_gives_messages_back_only_while_it_restores(
    restores: bool, restored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr(QoS, "restore_unacked", lambda self: given_back.append(1))
    qos: Any = QoS(SimpleNamespace(do_restore=restores))
    qos._delivered[1] = "a message"
    qos.restore_unacked_once()
    assert given_back == restored


# Messages that cannot be taken in.


class Delivered:
    """A message as kombu hands it over."""

    def __init__(self, headers: Any = None, body: Any = None, decoded: Any = None) -> None:
        self.headers = {"id": "1", "task": "probes.probe"} if headers is None else headers
        self.body = b"[[], {}, {}]" if body is None else body
        self.properties = {"reply_to": "", "correlation_id": "1"}
        self.delivery_info = {"routing_key": "celery"}
        self.acknowledged = False
        self.channel = "the channel"
        self._decoded = [[], {}, {}] if decoded is None else decoded

    def decode(self) -> Any:
        if isinstance(self._decoded, Exception):
            raise self._decoded
        return self._decoded

    def ack(self) -> None:
        self.acknowledged = True


@pytest.fixture
def buried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reasons of the dead letters, each of which is kept before its message is acknowledged."""
    reasons: list[str] = []
    monkeypatch.setattr(dead_letters, "keep", lambda channel, letter: reasons.append(letter.reason))
    return reasons


def taking_in(monkeypatch: pytest.MonkeyPatch, consumer: Consumer, take_in: Any) -> Any:
    """The consumer's handler, with this in place of Celery's."""
    monkeypatch.setattr(CeleryConsumer, "create_task_handler", lambda self: take_in)
    return consumer.create_task_handler()


def raising(error: Exception) -> Any:
    def take_in(message: Any) -> None:
        raise error

    return take_in


def test_a_good_message_is_celery_s_affair(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, buried: list[str]
) -> None:
    taken: list[Any] = []
    message = Delivered()
    taking_in(monkeypatch, consumer, taken.append)(message)
    assert (taken, buried, message.acknowledged) == ([message], [], False)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Delivered(headers={"id": ["x"], "task": "probes.probe"}), "id is not what Celery sends there"),
        (Delivered(headers={"task": "probes.probe"}), "id is missing"),
        (Delivered(body=b"[" * 500), "the body is nested more than 100 levels deep"),
        (Delivered(decoded=ValueError("hunter2")), "the body cannot be decoded (ValueError)"),
        (Delivered(decoded=[1]), "the body does not have three parts: args, kwargs and what follows"),
    ],
)
def test_a_malformed_one_is_kept_and_acknowledged_and_never_reaches_celery(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, buried: list[str], message: Any, reason: str
) -> None:
    taken: list[Any] = []
    taking_in(monkeypatch, consumer, taken.append)(message)
    assert (taken, buried, message.acknowledged) == ([], [reason], True)


@pytest.mark.parametrize("error", [TypeError("hunter2"), KeyError("id"), RecursionError(), ArithmeticError()])
def test_whatever_celery_raises_on_a_message_the_worker_goes_on(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, buried: list[str], error: Exception
) -> None:
    message = Delivered()
    taking_in(monkeypatch, consumer, raising(error))(message)
    assert (buried, message.acknowledged) == ([f"it cannot be taken in ({type(error).__name__})"], True)


@pytest.mark.parametrize("error", [ConnectionResetError(), RedisConnectionError()])
def test_a_connection_that_is_lost_meanwhile_is_no_dead_letter(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, buried: list[str], error: Exception
) -> None:
    message = Delivered()
    with pytest.raises(type(error)):
        taking_in(monkeypatch, consumer, raising(error))(message)
    assert (buried, message.acknowledged) == ([], False)


def test_what_celery_finds_wrong_itself_is_kept_as_well(consumer: Consumer, buried: list[str]) -> None:
    message: Any = Delivered()
    consumer.on_unknown_message(None, message)
    consumer.on_invalid_task(None, message, ValueError("hunter2"))
    consumer.on_decode_error(message, ValueError("hunter2"))
    assert buried == [
        "it is no task",
        "Celery cannot read it (ValueError)",
        "it cannot be decoded (ValueError)",
    ]


def test_whoever_calls_a_task_that_does_not_exist_is_told(
    consumer: Consumer, buried: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[tuple[str, Exception]] = []

    def mark_as_failure(task_id: str, error: Exception, *, request: Any) -> None:
        failed.append((task_id, error))
        assert (request.correlation_id, request.errbacks) == ("1", None)

    consumer.app = cast("Any", SimpleNamespace(backend=SimpleNamespace(mark_as_failure=mark_as_failure)))
    message: Any = Delivered(headers={"id": "1", "task": "no.such"})
    consumer.on_unknown_task(None, message, KeyError("no.such"))
    assert buried == ["this project has no task of its name"]
    ((task_id, error),) = failed
    assert (task_id, type(error), error.args) == ("1", NotRegistered, ("no.such",))


def test_a_run_whose_job_only_a_worker_with_other_code_knows_is_left_to_it(
    consumer: Consumer, buried: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    message: Any = Delivered(headers={"id": "1", "task": "probes.new", "jobledger_run": True})
    consumer.on_unknown_task(None, message, KeyError("probes.new"))
    assert message.acknowledged
    assert buried == []
    assert "Run 1 is left to a worker that knows its task probes.new" in caplog.text


def test_its_connection_hands_over_only_messages_that_can_be_read(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer.app = current_app
    monkeypatch.setattr(consumer, "ensure_connected", lambda connection: connection)
    connection = consumer.connection_for_read()
    assert connection.transport.__class__.Channel is guarded(redis.Transport).Channel
