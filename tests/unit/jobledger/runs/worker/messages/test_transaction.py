"""Deliveries are noted in a real Redis as kombu notes them, whatever happens to the connection."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.transport.redis import PrefixedStrictRedis
from redis.exceptions import OutOfMemoryError, ResponseError

from jobledger.runs.worker.messages.transaction import Transaction
from proj.embedded_redis import command
from tests.waiting import wait_until

PREFIX = "jobs:"
INDEX, UNACKNOWLEDGED = "unacked_index", "unacked"


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """That of a Redis server."""
    folder = tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(command(folder / "socket", folder), stdout=subprocess.DEVNULL)
    wait_until((folder / "socket").is_socket, what="the Redis server listens")
    yield folder / "socket"
    server.terminate()
    server.wait()


@pytest.fixture
def observer(socket: Path) -> Iterator[redis.Redis]:
    """A client of an empty server, which sees the keys as they are."""
    with redis.Redis(unix_socket_path=str(socket), decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def client(socket: Path, observer: redis.Redis) -> Iterator[Any]:
    """A client like kombu's, which adds the prefix to each key."""
    with PrefixedStrictRedis(unix_socket_path=str(socket), global_keyprefix=PREFIX) as made:
        yield made


def note(pipeline: Any, tag: str = "tag") -> Any:
    return pipeline.zadd(INDEX, {tag: 1780000000.25}).hset(UNACKNOWLEDGED, tag, '["message","","celery"]')


def forget(pipeline: Any, tag: str = "tag") -> Any:
    return pipeline.zrem(INDEX, tag).hdel(UNACKNOWLEDGED, tag)


def transaction(client: Any) -> Transaction:
    return Transaction(client, prefix=PREFIX)


def contents(observer: redis.Redis) -> tuple[Any, Any]:
    return (
        observer.zrange(f"{PREFIX}{INDEX}", 0, -1, withscores=True),
        observer.hgetall(f"{PREFIX}{UNACKNOWLEDGED}"),
    )


def test_a_delivery_is_noted_as_by_a_pipeline(client: Any, observer: redis.Redis) -> None:
    note(client.pipeline()).execute()
    expected = contents(observer)
    assert all(expected)
    observer.flushall()
    note(transaction(client)).execute()
    assert contents(observer) == expected


def test_no_pipeline_is_needed_unless_something_fails(
    client: Any, observer: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "pipeline", None)
    note(transaction(client)).execute()
    assert all(contents(observer))
    forget(transaction(client)).execute()
    assert contents(observer) == ([], {})


def test_only_the_delivery_that_is_acknowledged_is_forgotten(client: Any, observer: redis.Redis) -> None:
    for tag in "one", "other":
        note(transaction(client), tag).execute()
    forget(transaction(client), "one").execute()
    scores, messages = contents(observer)
    assert [tag for tag, _ in scores] == list(messages) == ["other"]


def test_a_connection_that_redis_has_closed_is_replaced(client: Any, observer: redis.Redis) -> None:
    client.ping()
    observer.client_kill_filter(_type="normal", skipme=True)
    note(transaction(client)).execute()
    assert all(contents(observer))


def test_a_connection_that_is_lost_while_the_commands_are_sent_is_replaced(
    client: Any, observer: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = client.connection_pool.get_connection()
    client.connection_pool.release(connection)
    send = connection.send_packed_command

    def lose(*args: Any, **options: Any) -> None:
        monkeypatch.setattr(connection, "send_packed_command", send)
        connection._sock.close()
        send(*args, **options)

    monkeypatch.setattr(connection, "send_packed_command", lose)
    note(transaction(client)).execute()
    assert all(contents(observer))


def test_what_redis_refuses_is_raised_and_the_connection_is_as_good_as_before(
    client: Any, observer: redis.Redis
) -> None:
    observer.set(f"{PREFIX}{UNACKNOWLEDGED}", "no hash")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        note(transaction(client)).execute()
    assert client.ping()
    observer.delete(f"{PREFIX}{UNACKNOWLEDGED}")
    note(transaction(client)).execute()
    assert all(contents(observer))


def test_nothing_is_noted_in_a_redis_without_memory(client: Any, observer: redis.Redis) -> None:
    observer.config_set("maxmemory", "1")
    try:
        with pytest.raises(OutOfMemoryError):
            note(transaction(client)).execute()
    finally:
        observer.config_set("maxmemory", "0")
    assert contents(observer) == ([], {})
    assert client.ping()
