"""A worker that loses the broker, and a child meanwhile, goes on."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer

from jobledger.runs.worker.consumer import Consumer


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
