"""A worker fetches a message while a child records the end of a run, but not while a job goes on.

It sends the message to that child if all are busy.
"""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from celery.worker import state
from kombu.transport import redis

from jobledger.runs.processes import announcements
from jobledger.runs.publishing.delivery import RUN_HEADER, SCHEDULE_HEADER
from jobledger.runs.worker.main_process import JobRequest
from jobledger.runs.worker.messages import ahead
from jobledger.runs.worker.messages.kombu_internals import guarded
from jobledger.runs.worker.pool_internals import TaskPool
from tests.unit.jobledger.runs.worker.builders import received

IDS = [f"00000000-0000-0000-0000-00000000000{number}" for number in range(4)]


class Pool(TaskPool):
    """A pool of two children, which are busy if a message waits."""

    def __init__(self) -> None:
        self.waiting: str | None = None
        self.sent_to = list[str]()

    @property
    def num_processes(self) -> int:
        return 2

    def waiting_task(self) -> str | None:
        return self.waiting

    def send_ahead(self, task_id: str, over: JobRequest) -> bool:
        assert task_id == self.waiting
        self.sent_to.append(over.id)
        return True


class Worker:
    """A worker with two children, which has received messages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reserved: dict[str, JobRequest] = {}
        self.announced: list[tuple[UUID, int]] = []
        self.readers: dict[int, Any] = {}
        self.on_tick = set[Any]()
        self.pool = Pool()
        monkeypatch.setattr(state, "requests", self.reserved)
        monkeypatch.setattr(state, "reserved_requests", self.reserved.values())
        monkeypatch.setattr(ahead, "_over", set())
        monkeypatch.setattr(ahead, "_consumers", [])
        monkeypatch.setattr(announcements, "received", lambda: self.announced)
        monkeypatch.setattr(announcements, "descriptor", lambda: 7)
        self.qos = guarded(redis.Transport).Channel.QoS(SimpleNamespace(do_restore=False), prefetch_count=2)
        self.consumer = SimpleNamespace(
            app=SimpleNamespace(conf=SimpleNamespace(worker_disable_prefetch=True)),
            controller=SimpleNamespace(),
            hub=SimpleNamespace(add_reader=self.readers.__setitem__, on_tick=self.on_tick),
            pool=self.pool,
            task_consumer=SimpleNamespace(channel=SimpleNamespace(qos=self.qos)),
        )

    def receive(self, *task_ids: str, task: str = "probes.probe", **options: Any) -> None:
        for task_id in task_ids:
            self.reserved[task_id] = received(task_id, task, kwargs=options)
            self.qos._delivered[task_id] = "a message"

    def end_job(self, task_id: str, attempt: int = 1) -> None:
        self.announced = [(UUID(task_id), attempt)]
        self.readers[7]()

    def tick(self) -> None:
        for each in self.on_tick:
            each()


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


def test_a_run_whose_end_is_on_record_is_forgotten(worker: Worker) -> None:
    """Also by a worker that is never full, and does not look whether it may fetch ahead."""
    worker.receive(*IDS[:2])
    worker.end_job(IDS[0])
    worker.reserved.pop(IDS[0])
    worker.tick()
    assert ahead._over == set()


def test_an_announcement_of_an_earlier_attempt_is_not_taken_for_the_present_one(worker: Worker) -> None:
    worker.receive(*IDS[:2])
    worker.reserved[IDS[0]].request_dict[RUN_HEADER] = 2
    worker.end_job(IDS[0], attempt=1)
    assert not worker.qos.can_consume()
    worker.end_job(IDS[0], attempt=2)
    assert worker.qos.can_consume()


def test_the_message_is_sent_to_the_child_whose_job_is_over(worker: Worker) -> None:
    worker.receive(*IDS[:3])
    worker.pool.waiting = IDS[2]
    worker.tick()
    assert worker.pool.sent_to == []
    worker.end_job(IDS[1])
    worker.tick()
    assert worker.pool.sent_to == [IDS[1]]


def test_nothing_is_sent_if_no_message_waits(worker: Worker) -> None:
    """It would go to an idle child."""
    worker.receive(*IDS[:2])
    worker.end_job(IDS[0])
    worker.tick()
    assert worker.pool.sent_to == []


@pytest.mark.parametrize(
    ("task", "options", "schedule"),
    [("celery.map", {}, ""), ("probes.probe", {"text": "x" * 3000}, ""), ("probes.probe", {}, "x" * 3000)],
    ids=["ordinary", "large options", "large headers"],
)
def test_other_messages_wait_for_an_idle_child(
    task: str, options: dict[str, Any], schedule: str, worker: Worker
) -> None:
    """Those of ordinary tasks, which must not be sent twice, and large ones, which a pipe may not hold."""
    worker.receive(*IDS[:2])
    worker.receive(IDS[2], task=task, **options)
    worker.reserved[IDS[2]].request_dict[SCHEDULE_HEADER] = schedule
    worker.pool.waiting = IDS[2]
    worker.end_job(IDS[0])
    worker.tick()
    assert worker.pool.sent_to == []


def test_a_pool_of_the_projects_own_sends_as_usual(worker: Worker) -> None:
    worker.receive(*IDS[:2])
    worker.consumer.pool = SimpleNamespace(num_processes=2)
    worker.end_job(IDS[0])
    worker.tick()
    assert worker.qos.can_consume()


def test_a_worker_that_connects_again_does_nothing_twice(worker: Worker) -> None:
    before = set(worker.on_tick)
    ahead.watch(worker.consumer)
    assert worker.on_tick == before


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
    assert worker.on_tick == set()
    assert worker.qos.can_consume == before
