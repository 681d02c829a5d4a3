"""A job's message is the one that Celery's own ``send_task`` would send, made with less ado."""

from typing import Any

import pytest
from celery import current_app, signals
from celery.app.routes import prepare
from kombu import Queue
from kombu.serialization import dumps

from jobledger.runs.publishing.messages import LONGEST_REPR, Sender

PROBE = "probes.probe"
TASK_ID = "6d3f5e0a-4a1c-4f0e-9d57-2f6b8f2f9d10"


class Recorder:
    """A producer that keeps what it is to publish, the body as text."""

    def __init__(self) -> None:
        self.connection = current_app.connection_for_write()
        self.published: list[dict[str, Any]] = []

    def publish(self, body: Any, **message: Any) -> None:
        if serializer := message.pop("serializer", None):
            encoded = dumps(body, serializer=serializer)
            message["content_type"], message["content_encoding"], body = encoded
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


def test_messages_that_say_the_same_have_their_own_ids_and_headers(recorder: Any) -> None:
    sender, ids = Sender(recorder), [TASK_ID, TASK_ID.replace("6", "7")]
    same: dict[str, Any] = {"args": [], "kwargs": {"level": 2}}
    for task_id in ids:
        send(recorder, sender, task_id=task_id, headers={"tenant": task_id}, **same)
    assert [each["body"] for each in recorder.published] == [recorder.published[0]["body"]] * 2
    for task_id, each in zip(ids, recorder.published, strict=True):
        headers = each["headers"]
        told = (each["correlation_id"], headers["id"], headers["root_id"], headers["tenant"])
        assert told == (task_id,) * 4


def test_messages_that_do_not_say_the_same_are_not_taken_for_it(recorder: Any) -> None:
    sender, same = Sender(recorder), {"level": 2}
    send(recorder, sender, kwargs=same, headers={"tenant": "a"})
    others: list[dict[str, Any]] = [
        {"kwargs": {"level": 3}},
        {"kwargs": same, "shown": {"level": "*"}},
        {"kwargs": same, "ignore_result": False},
        {"kwargs": same, "priority": 3},
        {"kwargs": same},
    ]
    one, hidden, awaited, urgent, bare = (send(recorder, sender, **each) for each in others)
    assert '"level": 3' in one["body"]
    assert hidden["headers"]["kwargsrepr"] == "{'level': '*'}"
    assert awaited["headers"]["ignore_result"] is False
    assert urgent["priority"] == 3
    assert "tenant" not in bare["headers"]


def test_who_wants_to_be_told_of_messages_is_told_of_each(recorder: Any) -> None:
    told: list[Any] = []

    def listen(sender: str, headers: dict[str, Any], **kwargs: Any) -> None:
        headers["seen"] = len(told)
        told.append(headers["id"])

    sender, same, ids = Sender(recorder), {"level": 2}, [TASK_ID, TASK_ID.replace("6", "7")]
    signals.before_task_publish.connect(listen)
    try:
        seen = [send(recorder, sender, kwargs=same, task_id=each)["headers"]["seen"] for each in ids]
    finally:
        signals.before_task_publish.disconnect(listen)
    assert (seen, told) == ([0, 1], ids)


def test_in_celery_s_older_protocol_each_message_has_its_own_id(
    recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(current_app.amqp, "create_task_message", current_app.amqp.as_task_v1)
    monkeypatch.setitem(current_app.conf, "task_protocol", 1)
    sender, same, ids = Sender(recorder), {"level": 2}, [TASK_ID, TASK_ID.replace("6", "7")]
    bodies = [send(recorder, sender, kwargs=same, task_id=each)["body"] for each in ids]
    assert [f'"id": "{each}"' in body for each, body in zip(ids, bodies, strict=True)] == [True, True]


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
