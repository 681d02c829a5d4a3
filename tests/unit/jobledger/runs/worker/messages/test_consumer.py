"""A worker survives losing the broker, and the death of a child in the meantime."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
from amqp.exceptions import PreconditionFailed
from celery import Celery, current_app
from celery.concurrency.base import BasePool
from celery.exceptions import NotRegistered
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu import Exchange, Queue
from kombu.transport import redis
from kombu.transport.redis import QoS
from redis.exceptions import ConnectionError as RedisConnectionError

from jobledger.celery import configure
from jobledger.models import DeadLetter
from jobledger.runs.service.pulse import message_taken, pulse
from jobledger.runs.worker.messages import dead_letters, returned
from jobledger.runs.worker.messages.consumer import Consumer, DelayedDelivery
from jobledger.runs.worker.messages.kombu_internals import guarded
from tests.unit.jobledger.runs.worker.builders import received


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls, in order; Celery's own methods would need a complete worker."""
    done: list[str] = []
    for name in "loop_args", "on_connection_error_after_connected":
        monkeypatch.setattr(CeleryConsumer, name, lambda *args, name=name: done.append(name))
    return done


@pytest.fixture
def calls() -> list[Callable[[], None]]:
    """What the timer will call."""
    return []


@pytest.fixture
def consumer(done: list[str], calls: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch) -> Consumer:
    """A consumer without a worker."""
    made = Consumer.__new__(Consumer)

    def start_timer(seconds: float, function: Callable[[], object]) -> str:
        before = len(done)
        function()
        done[before:] = [f"{done[before]} every {seconds} s"]
        return done[-1]

    made.pool = SimpleNamespace(maintain_pool=lambda: done.append("maintain_pool"))
    made.timer = SimpleNamespace(
        call_repeatedly=start_timer,
        cancel=lambda entry: done.append(f"stopped: {entry}"),
        call_after=lambda seconds, function, args: calls.append(partial(function, *args)),
    )
    made.qos = SimpleNamespace(
        increment_eventually=lambda: done.append("one message more"),
        decrement_eventually=lambda: done.append("one message less"),
    )
    made.task_consumer = SimpleNamespace(channel=SimpleNamespace(do_restore=True))
    # Its real receivers need a worker.
    monkeypatch.setattr(pulse, "receivers", [])
    pulse.connect(lambda **kwargs: done.append("pulse"), weak=False)
    return made


TIMED_OUT = PreconditionFailed("delivery acknowledgement on channel 1 timed out", reply_code=406)
TIMERS = ["maintain_pool every 0.25 s", "pulse every 2.0 s"]


def test_dead_children_are_replaced_before_the_loop_starts(consumer: Consumer, done: list[str]) -> None:
    consumer.loop_args()
    assert done == ["maintain_pool", *TIMERS, "pulse", "loop_args"]


def test_the_address_of_the_connection_names_the_transport_as_its_url_does(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer.app = Celery("mine", broker="redis://jobs:s3cr3t@host:6379/0", set_as_current=False)
    monkeypatch.setattr(consumer, "ensure_connected", lambda connection: connection)
    connection = consumer.connection_for_read()
    assert connection.get_transport_cls().Channel is not redis.Channel
    assert connection.as_uri() == "redis://jobs:**@host:6379/0"


def test_after_a_reconnect_each_timer_is_there_once(consumer: Consumer, done: list[str]) -> None:
    consumer.loop_args()
    done.clear()
    consumer.loop_args()
    stopped = [f"stopped: {each}" for each in TIMERS]
    assert done == ["maintain_pool", *stopped, *TIMERS, "pulse", "loop_args"]


def test_messages_of_a_lost_connection_are_abandoned(
    consumer: Consumer, done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = SimpleNamespace(acknowledged=False)
    monkeypatch.setattr(state, "reserved_requests", {id(request): request}.values())
    consumer.on_connection_error_after_connected(cast("Any", ConnectionError("gone")))
    assert request.acknowledged
    assert not consumer.task_consumer.channel.do_restore
    assert done == ["on_connection_error_after_connected"]


def test_a_channel_that_rabbitmq_closes_in_the_middle_of_work_is_opened_again(
    consumer: Consumer, done: list[str]
) -> None:
    consumer.loop_args()
    consumer.on_connection_error_after_connected(TIMED_OUT)
    assert done[-1] == "on_connection_error_after_connected"
    assert not consumer.task_consumer.channel.do_restore


def test_a_worker_that_rabbitmq_does_not_let_begin_ends(consumer: Consumer, done: list[str]) -> None:
    with pytest.raises(PreconditionFailed):
        consumer.on_connection_error_after_connected(TIMED_OUT)
    consumer.loop_args()
    consumer.on_connection_error_after_connected(TIMED_OUT)
    with pytest.raises(PreconditionFailed):
        consumer.on_connection_error_after_connected(TIMED_OUT)
    assert done.count("on_connection_error_after_connected") == 1


@pytest.mark.parametrize(("kind", "is_included"), [("direct", False), ("topic", True)])
def test_queues_for_delayed_messages_are_declared_only_where_they_can_be_used(
    kind: str, is_included: bool
) -> None:
    app = Celery("mine", broker="amqp://nowhere", set_as_current=False)
    exchange, arguments = Exchange("mine", type=kind), {"x-queue-type": "quorum"}
    app.conf.task_queues = [Queue("mine", exchange, queue_arguments=arguments)]
    assert DelayedDelivery in Consumer.Blueprint.default_steps
    made = DelayedDelivery.__new__(DelayedDelivery)
    assert made.include_if(cast("Any", SimpleNamespace(app=app))) is is_included


# Undocumented parts of Celery and kombu that the consumer relies on: these fail if a release changes them.


def test_celery_does_not_acknowledge_a_request_twice() -> None:
    acknowledged: list[bool] = []
    request = received("1", on_ack=lambda *args: acknowledged.append(True))
    request.acknowledged = True
    request.acknowledge()
    assert acknowledged == []


def test_celerys_reserved_requests_include_active_ones() -> None:
    state.task_reserved(request := received("1"))
    state.task_accepted(request)
    assert request in state.reserved_requests


def test_celerys_pools_can_replace_dead_children() -> None:
    assert callable(BasePool.maintain_pool)


@pytest.mark.parametrize(("restores", "restored"), [(True, [1]), (False, [])])
def test_a_kombu_channel_restores_messages_only_while_do_restore_is_set(
    restores: bool, restored: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr(QoS, "restore_unacked", lambda self: given_back.append(1))
    qos: Any = QoS(SimpleNamespace(do_restore=restores))
    qos._delivered[1] = "a message"
    qos.restore_unacked_once()
    assert given_back == restored


# Messages that cannot be processed.


class Delivered:
    """A message as delivered by kombu."""

    def __init__(self, headers: Any = None, body: Any = None, decoded: Any = None) -> None:
        self.headers = {"id": "1", "task": "probes.probe"} if headers is None else headers
        self.body = b"[[], {}, {}]" if body is None else body
        self.properties = {"reply_to": "", "correlation_id": "1"}
        self.delivery_info = {"routing_key": "celery"}
        self.acknowledged = self.is_returned = False
        self.channel = "the channel"
        self._decoded = [[], {}, {}] if decoded is None else decoded

    def decode(self) -> Any:
        if isinstance(self._decoded, Exception):
            raise self._decoded
        return self._decoded

    def ack(self) -> None:
        self.acknowledged = True

    def reject(self, *, requeue: bool) -> None:
        self.is_returned = requeue


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The reasons of the dead letters that were kept, with the task if the log is to name it."""
    reasons: list[str] = []

    def keep(channel: Any, letter: DeadLetter, *, names_task: bool = False) -> None:
        reasons.append(f"{letter.task}: {letter.reason}" if names_task else letter.reason)

    monkeypatch.setattr(dead_letters, "keep", keep)
    return reasons


def handler_with(monkeypatch: pytest.MonkeyPatch, consumer: Consumer, handle: Any) -> Any:
    """The consumer's handler, with Celery's replaced by ``handle``."""
    monkeypatch.setattr(CeleryConsumer, "create_task_handler", lambda self: handle)
    return consumer.create_task_handler()


def raising(error: Exception) -> Any:
    def handle(message: Any) -> None:
        raise error

    return handle


def test_a_valid_message_is_passed_to_celery(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, kept: list[str]
) -> None:
    handled: list[Any] = []
    message = Delivered()
    handler_with(monkeypatch, consumer, handled.append)(message)
    assert (handled, kept, message.acknowledged) == ([message], [], False)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("message", [Delivered(), Delivered(decoded=[1])], ids=["valid", "malformed"])
def test_it_is_known_that_a_message_was_taken_whatever_it_is(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, message: Any
) -> None:
    taken: list[Any] = []

    def note(sender: Any, **kwargs: Any) -> None:
        taken.append(sender)

    message_taken.connect(note)
    handler_with(monkeypatch, consumer, lambda message: None)(message)
    message_taken.disconnect(note)
    assert taken == [consumer]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (Delivered(headers={"id": ["x"], "task": "probes.probe"}), "invalid value for the header id"),
        (Delivered(headers={"task": "probes.probe"}), "the header id is missing"),
        (Delivered(body=b"[" * 500), "the body is nested more than 100 levels deep"),
        (Delivered(decoded=ValueError("hunter2")), "the body cannot be decoded (ValueError)"),
        (Delivered(decoded=[1]), "the body does not have three parts: args, kwargs and embed"),
    ],
)
def test_a_malformed_message_is_kept_and_acknowledged_and_not_passed_to_celery(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, kept: list[str], message: Any, reason: str
) -> None:
    handled: list[Any] = []
    handler_with(monkeypatch, consumer, handled.append)(message)
    assert (handled, kept, message.acknowledged) == ([], [reason], True)


@pytest.mark.parametrize("error", [TypeError("hunter2"), KeyError("id"), RecursionError(), ArithmeticError()])
def test_an_exception_in_celery_becomes_a_dead_letter(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, kept: list[str], error: Exception
) -> None:
    message = Delivered()
    handler_with(monkeypatch, consumer, raising(error))(message)
    assert (kept, message.acknowledged) == ([f"it cannot be processed ({type(error).__name__})"], True)


@pytest.mark.parametrize("error", [ConnectionResetError(), RedisConnectionError()])
def test_a_lost_connection_causes_no_dead_letter(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, kept: list[str], error: Exception
) -> None:
    message = Delivered()
    with pytest.raises(type(error)):
        handler_with(monkeypatch, consumer, raising(error))(message)
    assert (kept, message.acknowledged) == ([], False)


def test_messages_that_celery_rejects_are_kept_too(consumer: Consumer, kept: list[str]) -> None:
    message: Any = Delivered()
    consumer.on_unknown_message(None, message)
    consumer.on_invalid_task(None, message, ValueError("hunter2"))
    consumer.on_decode_error(message, ValueError("hunter2"))
    assert kept == [
        "it is not a task message",
        "Celery cannot read it (ValueError)",
        "it cannot be decoded (ValueError)",
    ]


@pytest.fixture
def without_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message is returned to its queue."""
    monkeypatch.setattr(returned, "MAX_RETURNS", 0)


def unknown(task_id: str = "1", **delivery: str) -> Any:
    message = Delivered(headers={"id": task_id, "task": "billing.invoice"})
    message.delivery_info.update(delivery)
    return message


def with_tasks(consumer: Consumer, *tasks: str) -> None:
    backend = SimpleNamespace(mark_as_failure=lambda *args, request: None)
    consumer.app = cast("Any", SimpleNamespace(backend=backend, tasks=tasks))


def test_a_message_for_an_unknown_task_is_returned_to_its_queue_because_others_may_know_it(
    consumer: Consumer, done: list[str], calls: list[Callable[[], None]], kept: list[str]
) -> None:
    message = unknown()
    consumer.task_consumer.channel = message.channel
    consumer.on_unknown_task(None, message, KeyError("billing.invoice"))
    assert (message.is_returned, message.acknowledged, done) == (False, False, ["one message more"])
    calls[0]()
    assert (message.is_returned, message.acknowledged, kept) == (True, False, [])
    assert done == ["one message more", "one message less"]


def test_a_message_that_nobody_takes_becomes_a_dead_letter(
    consumer: Consumer, calls: list[Callable[[], None]], kept: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with_tasks(consumer)
    for _ in range(returned.MAX_RETURNS):
        consumer.on_unknown_task(None, unknown(), KeyError("billing.invoice"))
    assert (len(calls), kept) == (returned.MAX_RETURNS, [])
    consumer.on_unknown_task(None, last := unknown(), KeyError("billing.invoice"))
    assert (len(calls), kept) == (
        returned.MAX_RETURNS,
        ["billing.invoice: this project has no task with its name"],
    )
    assert last.acknowledged
    assert caplog.text.count("Returning a message to queue 'celery'") == 1


def test_a_message_is_not_returned_once_its_connection_was_lost(
    consumer: Consumer, done: list[str], calls: list[Callable[[], None]]
) -> None:
    consumer.on_unknown_task(None, message := unknown(), KeyError("billing.invoice"))
    calls[0]()
    assert not message.is_returned
    assert "one message less" not in done


@pytest.mark.parametrize("delivery", [{"exchange": "billing"}, {"routing_key": ""}])
def test_a_message_that_kombu_might_return_elsewhere_is_a_dead_letter_at_once(
    consumer: Consumer, calls: list[Callable[[], None]], kept: list[str], delivery: dict[str, str]
) -> None:
    with_tasks(consumer)
    consumer.on_unknown_task(None, unknown(**delivery), KeyError("billing.invoice"))
    assert (calls, kept) == ([], ["billing.invoice: this project has no task with its name"])


def test_a_flood_of_messages_for_unknown_tasks_is_not_held(
    consumer: Consumer, calls: list[Callable[[], None]], kept: list[str]
) -> None:
    with_tasks(consumer)
    for number in range(returned.MAX_HELD + 1):
        consumer.on_unknown_task(None, unknown(str(number)), KeyError("billing.invoice"))
    assert (len(calls), len(kept)) == (returned.MAX_HELD, 1)
    consumer.loop_args()
    consumer.on_unknown_task(None, unknown("another"), KeyError("billing.invoice"))
    assert (len(calls), len(kept)) == (returned.MAX_HELD + 1, 1)


@pytest.mark.usefixtures("without_returns")
def test_the_result_of_an_unknown_task_is_a_failure(
    consumer: Consumer, kept: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[tuple[str, Exception]] = []

    def mark_as_failure(task_id: str, error: Exception, *, request: Any) -> None:
        failed.append((task_id, error))
        assert (request.correlation_id, request.errbacks) == ("1", None)

    backend = SimpleNamespace(mark_as_failure=mark_as_failure)
    consumer.app = cast("Any", SimpleNamespace(backend=backend, tasks=["probes.probe"]))
    message: Any = Delivered(headers={"id": "1", "task": "no.such"})
    consumer.on_unknown_task(None, message, KeyError("no.such"))
    assert kept == ["no.such: this project has no task with its name"]
    ((task_id, error),) = failed
    assert (task_id, type(error), error.args) == ("1", NotRegistered, ("no.such",))


@pytest.mark.usefixtures("without_returns")
@pytest.mark.parametrize("error", [RuntimeError("retry limit exceeded"), RedisConnectionError("refused")])
def test_a_result_backend_that_is_down_neither_makes_a_second_dead_letter_nor_loses_the_connection(
    consumer: Consumer, kept: list[str], error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mark_as_failure(*args: object, **options: object) -> None:
        raise error

    backend = SimpleNamespace(mark_as_failure=mark_as_failure)
    consumer.app = cast("Any", SimpleNamespace(backend=backend, tasks=["probes.probe"]))
    message = unknown()
    not_known = partial(consumer.on_unknown_task, None, exc=KeyError("billing.invoice"))
    handler_with(monkeypatch, consumer, not_known)(message)
    assert (len(kept), message.acknowledged) == (1, True)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("probes.porbe", ". Did you mean probes.probe?"),
        ("probe", ". Did you mean probes.probe?"),
        ("backend_cleanup", ""),
    ],
)
@pytest.mark.usefixtures("without_returns")
def test_the_dead_letter_of_an_unknown_task_suggests_similar_ones_but_none_of_celerys(
    consumer: Consumer, kept: list[str], name: str, hint: str
) -> None:
    with_tasks(consumer, "celery.backend_cleanup", "probes.probe")
    consumer.on_unknown_task(None, cast("Any", Delivered(headers={"id": "1", "task": name})), KeyError(name))
    assert kept == [f"{name}: this project has no task with its name{hint}"]


def test_the_run_of_an_unknown_job_is_left_to_other_workers(
    consumer: Consumer, kept: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    message: Any = Delivered(headers={"id": "1", "task": "probes.new", "jobledger_run": True})
    consumer.on_unknown_task(None, message, KeyError("probes.new"))
    assert message.acknowledged
    assert kept == []
    assert "Run 1 is left to workers that know its task probes.new" in caplog.text


def test_the_consumers_connection_uses_the_guarded_transport(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumer.app = current_app
    monkeypatch.setattr(consumer, "ensure_connected", lambda connection: connection)
    connection = consumer.connection_for_read()
    assert connection.transport.__class__.Channel is guarded(redis.Transport).Channel


@pytest.mark.parametrize("connect", [Consumer.connection_for_read, Consumer.connection_for_write])
def test_a_worker_itself_waits_for_no_confirmation_of_rabbitmq(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch, connect: Callable[[Consumer], Any]
) -> None:
    app = Celery("mine", broker="amqp://nowhere", set_as_current=False)
    configure(app)
    consumer.app = app
    monkeypatch.setattr(consumer, "ensure_connected", lambda connection: connection)
    assert app.conf.broker_transport_options["confirm_publish"] is True
    options = connect(consumer).transport_options
    assert (options["confirm_publish"], options["max_retries"]) == (False, 1)
