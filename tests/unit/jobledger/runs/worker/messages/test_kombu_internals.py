"""kombu's transports only deliver readable messages, and its private parts are as expected."""

import bz2
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty
from types import SimpleNamespace
from typing import Any

import amqp
import pytest
from celery import current_app
from kombu.transport import memory, pyamqp, redis
from kombu.utils import eventio
from redis.exceptions import ConnectionError as RedisConnectionError

from jobledger.conf import settings
from jobledger.runs.worker.messages import dead_letters
from jobledger.runs.worker.messages.envelope import MalformedError
from jobledger.runs.worker.messages.kombu_internals import guarded
from jobledger.runs.worker.messages.transaction import Transaction
from tests.malformed import encoded, good


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The dead letters, instead of storing them in Redis."""
    kept: list[Any] = []
    monkeypatch.setattr(dead_letters, "keep", lambda channel, letter: kept.append(letter))
    return kept


@pytest.fixture
def responses(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The responses of Redis, in order."""
    responses: list[Any] = []
    client = SimpleNamespace(connection=None, parse_response=lambda *args, **options: responses.pop(0))
    monkeypatch.setattr(redis.Channel, "_create_client", lambda self, asynchronous=False: client)
    return responses


class Receiving:
    """A channel between its connection and its consumer."""

    def __init__(self) -> None:
        channel_class = guarded(redis.Transport).Channel
        self.channel = channel_class.__new__(channel_class)
        self.delivered: list[Any] = []
        deliver = lambda payload, queue: self.delivered.append((payload, queue))  # noqa: E731 - it is a stub
        self.channel.connection = SimpleNamespace(_deliver=deliver)
        self.channel._queue_cycle = SimpleNamespace(rotate=lambda queue: None)
        self.channel._flush_brpop_reauth = lambda: None

    def receive(self) -> None:
        with suppress(Empty):
            self.channel._brpop_read()


class Connected:
    """A connection to Redis, whose class kombu gets from redis-py."""

    def __init__(self) -> None:
        self._sock: socket.socket | None
        self._sock, self.server = socket.socketpair()
        self.pid = os.getpid()

    def disconnect(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock = None


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """A connection that the event loop polls, and the loop's poller."""
    monkeypatch.setattr(
        redis.Channel, "_connparams", lambda self, asynchronous: {"connection_class": Connected}
    )
    poller = eventio.poll()
    receiving = Receiving()
    receiving.channel.connection.cycle = SimpleNamespace(poller=poller)
    connection = receiving.channel._connparams(asynchronous=True)["connection_class"]()
    poller.register(connection._sock.fileno(), eventio.READ | eventio.ERR)
    yield connection, poller
    connection.server.close()
    poller.close()


def test_a_connection_that_a_child_has_inherited_does_not_keep_the_event_loop_from_waiting(
    polled: tuple[Any, Any],
) -> None:
    connection, poller = polled
    inherited = connection._sock.dup()
    connection.server.close()
    assert poller.poll(0)
    connection.disconnect()
    assert poller.poll(0) == []
    # Once more, as redis-py does.
    connection.disconnect()
    inherited.close()


def test_a_child_that_closes_an_inherited_connection_does_not_make_its_parent_deaf(
    polled: tuple[Any, Any],
) -> None:
    connection, poller = polled
    own = connection._sock.dup()
    connection.pid = os.getppid()
    connection.disconnect()
    connection.server.send(b"+OK")
    assert poller.poll(0)
    own.close()


def test_a_good_message_is_delivered(kept: list[Any], responses: list[Any]) -> None:
    receiving = Receiving()
    responses.append((b"celery", encoded(good("1"))))
    receiving.receive()
    ((payload, queue),) = receiving.delivered
    assert (payload["headers"]["id"], queue, kept) == ("1", "celery", [])


@pytest.mark.parametrize("item", [b"{", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_a_malformed_message_is_kept_and_the_next_is_delivered(
    kept: list[Any], responses: list[Any], item: bytes
) -> None:
    receiving = Receiving()
    responses += [(b"celery\x06\x163", item), (b"celery", encoded(good("2")))]
    receiving.receive()
    receiving.receive()
    assert [payload["headers"]["id"] for payload, _ in receiving.delivered] == ["2"]
    (letter,) = kept
    assert (letter.queue, letter.size) == ("celery", len(item))


def test_the_response_for_an_empty_queue_is_passed_on(kept: list[Any], responses: list[Any]) -> None:
    responses.append(None)
    receiving = Receiving()
    with pytest.raises(Empty):
        receiving.channel._brpop_read()
    assert (receiving.delivered, kept) == ([], [])


@pytest.mark.parametrize("error", [KeyError("celery"), TypeError(), ValueError(), RecursionError()])
def test_a_malformed_broadcast_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def receive_one(self: Any, c: Any) -> Any:
        raise error

    monkeypatch.setattr(redis.Channel, "_receive_one", receive_one)
    assert Receiving().channel._receive_one(None) is None
    assert caplog.messages == [f"Dropped a malformed broadcast ({type(error).__name__})"]


@pytest.mark.parametrize("error", [RedisConnectionError(), OSError(), Empty()])
def test_a_lost_connection_is_not_mistaken_for_a_malformed_broadcast(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def receive_one(self: Any, c: Any) -> Any:
        raise error

    monkeypatch.setattr(redis.Channel, "_receive_one", receive_one)
    with pytest.raises(type(error)):
        Receiving().channel._receive_one(None)


def restoring(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Any:
    """A record of delivered messages in which restoring one raises this error."""

    def restore(self: Any, tag: str, client: Any, leftmost: bool) -> None:
        raise error

    monkeypatch.setattr(redis.QoS, "restore_by_tag", restore)
    qos_class = guarded(redis.Transport).Channel.QoS
    qos = qos_class.__new__(qos_class)
    client = SimpleNamespace(hget=lambda key, tag: b"no JSON")
    channel = SimpleNamespace(unacked_key="unacked", conn_or_acquire=_Acquired)
    monkeypatch.setattr(qos_class, "ack", lambda self, tag: acknowledged.append(tag))
    acknowledged: list[str] = []
    qos.channel, qos.acknowledged, qos.client = channel, acknowledged, client
    return qos


class _Acquired:
    def __init__(self, client: Any) -> None:
        self.client = client

    def __enter__(self) -> Any:
        return self.client

    def __exit__(self, *args: object) -> None:
        pass


def test_a_malformed_delivery_record_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, kept: list[Any]
) -> None:
    qos = restoring(monkeypatch, ValueError("no JSON"))
    qos.restore_by_tag("1", qos.client)
    assert (qos.acknowledged, kept[0].content) == (["1"], "no JSON")


def test_a_delivery_record_stays_while_redis_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, kept: list[Any]
) -> None:
    qos = restoring(monkeypatch, RedisConnectionError("gone"))
    with pytest.raises(RedisConnectionError):
        qos.restore_by_tag("1", qos.client)
    assert (qos.acknowledged, kept) == ([], [])


def test_a_failed_acknowledgement_frees_the_slot_so_that_the_lost_connection_is_noticed() -> None:
    def lose(delivery_tag: str) -> None:
        raise RedisConnectionError("gone")

    qos = guarded(redis.Transport).Channel.QoS(SimpleNamespace(do_restore=False), prefetch_count=1)
    qos._delivered["tag"] = "a message"
    qos._remove_from_indices = lose
    assert not qos.can_consume()

    with pytest.raises(RedisConnectionError):
        qos.ack("tag")

    assert qos.can_consume()


def test_deliveries_are_noted_in_transactions_with_the_channels_prefix() -> None:
    channel_class = guarded(redis.Transport).Channel
    channel = channel_class.__new__(channel_class)
    channel.global_keyprefix, client = "jobs:", object()
    with channel_class.QoS(channel).pipe_or_acquire(client=client) as pipeline:
        assert isinstance(pipeline, Transaction)
        assert (pipeline._client, pipeline._prefix) == (client, "jobs:")
    with channel_class.QoS(channel).pipe_or_acquire(pipeline, client) as given:
        assert given is pipeline


class _Received(amqp.Message):
    """A message as RabbitMQ's client delivers it."""

    delivery_info: dict[str, Any] = {}  # noqa: RUF012 - the client's
    delivery_tag = 1


def from_rabbitmq(body: bytes, **headers: Any) -> Any:
    """kombu's message, as a worker's channel makes it."""
    channel = guarded(pyamqp.Transport).Connection.Channel
    return channel.message_to_python(
        channel.__new__(channel), _Received(body, application_headers=headers, content_type="text/plain")
    )


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (b"x" * 2_000_001, {}, "it has 2,000,001 bytes; the limit is 2,000,000"),
        (bz2.compress(b"x" * 1_000_000), {"compression": "bzip2"}, "it is compressed, although"),
    ],
    ids=["too large", "compressed"],
)
def test_rabbitmqs_messages_of_unknown_size_are_not_decompressed(
    monkeypatch: pytest.MonkeyPatch, body: bytes, headers: dict[str, str], reason: str
) -> None:
    monkeypatch.setattr(settings, "MESSAGE_LIMIT_BYTES", 2_000_000)
    message = from_rabbitmq(body, **headers)
    ((kind, error, _),) = message.errors
    assert (kind, str(error).startswith(reason)) == (MalformedError, True)
    assert message.body == body


def test_rabbitmqs_other_messages_are_delivered(monkeypatch: pytest.MonkeyPatch) -> None:
    message = from_rabbitmq(b"x", task="mine")
    assert (message.errors, message.body, message.headers) == ([], b"x", {"task": "mine"})
    monkeypatch.setitem(current_app.conf, "task_compression", "bzip2")
    message = from_rabbitmq(bz2.compress(b"x"), compression="bzip2")
    assert (message.errors, message.body) == ([], b"x")


@pytest.mark.parametrize("transport", [pyamqp.Transport, pyamqp.SSLTransport])
def test_all_rabbitmq_transports_of_kombu_are_guarded(transport: Any) -> None:
    made = guarded(transport)
    assert issubclass(made, transport)
    assert issubclass(made.Connection, pyamqp.Connection)
    assert made.Connection.Channel is not pyamqp.Channel


def test_all_redis_transports_of_kombu_are_guarded_and_others_are_not() -> None:
    for transport in (redis.Transport, redis.SentinelTransport):
        made = guarded(transport)
        assert issubclass(made, transport)
        assert issubclass(made.Channel, transport.Channel)
        assert made.Channel is not transport.Channel
    assert guarded(memory.Transport) is memory.Transport


def test_a_channel_uses_one_client_for_each_pool_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def create(self: Any) -> Any:
        made.append(SimpleNamespace(connection_pool=self._pool))
        return made[-1]

    monkeypatch.setattr(redis.Channel, "_create_client", create)
    channel = Receiving().channel
    clients = []
    for pool in "first", "first", "second":
        channel._pool = pool
        with channel.conn_or_acquire() as client:
            clients.append(client)
    assert clients == [made[0], made[0], made[1]]
    given = SimpleNamespace()
    with channel.conn_or_acquire(given) as client:
        assert client is given
