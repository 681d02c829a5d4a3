"""A worker that loses the broker, and a child meanwhile, goes on."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.concurrency.base import BasePool
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.transport.redis import QoS

from jobledger.runs.worker.consumer import Consumer
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
