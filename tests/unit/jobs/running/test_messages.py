"""A job's message is the one that Celery's own ``send_task`` would send, made with less ado."""

from typing import Any

import pytest
from celery import current_app
from celery.app.routes import prepare
from kombu import Queue

from tasks_app.jobs.running.messages import LONGEST_REPR, Sender

PROBE = "probes.probe"
TASK_ID = "6d3f5e0a-4a1c-4f0e-9d57-2f6b8f2f9d10"


class Recorder:
    """A producer that keeps what it is to publish."""

    def __init__(self) -> None:
        self.connection = current_app.connection_for_write()
        self.published: list[dict[str, Any]] = []

    def publish(self, body: Any, **message: Any) -> None:
        self.published.append({"body": body, **message})


@pytest.fixture
def recorder() -> Any:
    return Recorder()


def send(recorder: Any, sender: Sender | None = None, **values: Any) -> dict[str, Any]:
    """What is published of a job's message."""
    message: dict[str, Any] = {"task_id": TASK_ID, "args": [], "kwargs": {"level": 2}, **values}
    (sender or Sender(recorder)).send_job(PROBE, **message)
    published: dict[str, Any] = recorder.published[-1]
    return published


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"headers": {"tenant": "a"}},
        {"queue": "slow", "priority": 3},
        {"exchange": "jobs", "routing_key": "nightly"},
        {"routing_key": "nightly"},
    ],
    ids=str,
)
def test_the_message_is_that_of_send_task(recorder: Any, options: dict[str, Any]) -> None:
    current_app.send_task(
        PROBE,
        args=[],
        kwargs={"level": 2},
        task_id=TASK_ID,
        ignore_result=True,
        producer=recorder,
        retry=False,
        **options,
    )
    theirs = recorder.published[-1]
    # Where an answer would go, for results that come by message: nobody waits for one.
    theirs["reply_to"] = ""
    assert send(recorder, **options) == theirs


def test_a_rule_for_where_tasks_go_is_asked(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = prepare([lambda name, *args, **kwargs: {"queue": "by rule"}])
    # It is made when it is first asked for, of the rules that there are then: of these, they would stay.
    router = current_app.amqp.router
    monkeypatch.setattr(current_app.amqp, "_rtable", rules)
    monkeypatch.setattr(router, "routes", rules)
    assert send(recorder)["routing_key"] == "by rule"


def test_nobody_waits_for_a_result(recorder: Any) -> None:
    assert send(recorder)["headers"]["ignore_result"] is True


def test_each_queue_is_declared_before_its_first_message_only(recorder: Any) -> None:
    sender = Sender(recorder)
    declared = [send(recorder, sender, queue=name)["declare"] for name in ("a", "b", "a", "b")]
    assert [[queue.name for queue in queues] for queues in declared] == [["a"], ["b"], [], []]
    assert isinstance(declared[0][0], Queue)


def test_what_watchers_see_of_long_options_is_short(recorder: Any) -> None:
    shown = send(recorder, kwargs={"words": "long" * LONGEST_REPR})["headers"]["kwargsrepr"]
    assert len(shown) == LONGEST_REPR
    assert shown.startswith("{'words': 'long")
    assert shown.endswith("...")


def test_an_ordinary_task_is_left_to_celery(recorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(
        current_app, "send_task", lambda name, **message: sent.append({"name": name, **message})
    )
    Sender(recorder).send_ordinary("a.task", task_id=TASK_ID, args=[1], kwargs={}, queue="slow")
    (message,) = sent
    assert (message["name"], message["args"], message["queue"]) == ("a.task", [1], "slow")
    assert (message["task_id"], message["ignore_result"]) == (TASK_ID, True)


def test_what_watchers_see_can_be_other_than_what_is_sent(recorder: Any) -> None:
    headers = send(recorder, kwargs={"key": "hunter2"}, shown={"key": "*"})["headers"]
    assert headers["kwargsrepr"] == "{'key': '*'}"
