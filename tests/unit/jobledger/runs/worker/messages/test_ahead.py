"""A worker fetches a message while a child records the end of a run, but not while a job goes on."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery.worker import state
from kombu.transport import redis

from jobledger.runs.processes import announcements
from jobledger.runs.worker.main_process import JobRequest
from jobledger.runs.worker.messages import ahead
from jobledger.runs.worker.messages.kombu_internals import guarded
from tests.unit.jobledger.runs.worker.builders import received

IDS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(4)]


class Worker:
    """A worker with two children, which has received messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reserved: dict[str, JobRequest] = {}
        self.announced: list[UUID] = []
        self.readers: dict[int, Any] = {}
        monkeypatch.setattr(state, "requests", self.reserved)
        monkeypatch.setattr(state, "reserved_requests", self.reserved.values())
        monkeypatch.setattr(ahead, "_over", set())
        monkeypatch.setattr(announcements, "received", lambda: self.announced)
        monkeypatch.setattr(announcements, "descriptor", lambda: 7)
        self.qos = guarded(redis.Transport).Channel.QoS(SimpleNamespace(do_restore=False), prefetch_count=2)
        self.consumer = SimpleNamespace(
            app=SimpleNamespace(conf=SimpleNamespace(worker_disable_prefetch=True)),
            controller=SimpleNamespace(),
            hub=SimpleNamespace(add_reader=self.readers.__setitem__),
            pool=SimpleNamespace(num_processes=2),
            task_consumer=SimpleNamespace(channel=SimpleNamespace(qos=self.qos)),
        )

    def receive(self, *task_ids: str) -> None:
        for task_id in task_ids:
            self.reserved[task_id] = received(task_id)
            self.qos._delivered[task_id] = "a message"

    def end_job(self, task_id: str) -> None:
        self.announced = [UUID(task_id)]
        self.readers[7]()


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    made = Worker(monkeypatch)
    ahead.watch(made.consumer)
    return made


def test_nothing_is_fetched_while_all_children_execute_jobs(worker: Worker) -> None:
    worker.receive(IDS[0])
    assert worker.qos.can_consume()
    worker.receive(IDS[1])
    assert not worker.qos.can_consume()


def test_one_message_is_fetched_for_each_job_that_is_over(worker: Worker) -> None:
    worker.receive(*IDS[:2])
    worker.end_job(IDS[0])
    assert worker.qos.can_consume()
    worker.receive(IDS[2])
    assert not worker.qos.can_consume()
    worker.end_job(IDS[1])
    assert worker.qos.can_consume()
    worker.receive(IDS[3])
    assert not worker.qos.can_consume()


def test_a_run_whose_end_is_on_record_counts_no_more(worker: Worker) -> None:
    """Its child executes the next one."""
    worker.receive(*IDS[:3])
    worker.end_job(IDS[0])
    worker.reserved.pop(IDS[0])
    worker.qos._delivered.pop(IDS[0])
    assert not worker.qos.can_consume()


def test_an_announcement_that_comes_after_the_result_is_for_nothing(worker: Worker) -> None:
    worker.receive(*IDS[:2])
    worker.end_job(IDS[3])
    assert not worker.qos.can_consume()


def test_the_autoscalers_limit_is_kept(worker: Worker) -> None:
    worker.consumer.controller.max_concurrency = 1
    worker.receive(*IDS[:2])
    worker.end_job(IDS[0])
    assert not worker.qos.can_consume()


def test_messages_that_wait_for_their_time_are_allowed_for(worker: Worker) -> None:
    """Celery raises the number of messages that are not acknowledged by those."""
    worker.receive(*IDS[:2])
    worker.qos._delivered["later"] = "a message"
    worker.end_job(IDS[0])
    assert not worker.qos.can_consume()
    worker.qos.prefetch_count = 3
    assert worker.qos.can_consume()


@pytest.mark.parametrize("lacks", ["setting", "pipe", "event loop", "our channel"])
def test_otherwise_messages_are_fetched_as_usual(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(monkeypatch)
    worker.consumer.app.conf.worker_disable_prefetch = lacks != "setting"
    monkeypatch.setattr(announcements, "descriptor", lambda: None if lacks == "pipe" else 7)
    if lacks == "event loop":
        worker.consumer.hub = None
    elif lacks == "our channel":
        worker.consumer.task_consumer.channel.qos = SimpleNamespace()
    before = worker.qos.can_consume
    ahead.watch(worker.consumer)
    assert worker.readers == {}
    assert worker.qos.can_consume == before
