"""Queued runs are published at growing intervals until they are claimed, with their own routing."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import current_app, signals
from celery.app.routes import prepare
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu.exceptions import EncodeError
from pytest_django import Settings
from redis.exceptions import OutOfMemoryError, ResponseError

from jobledger.models import Run, Status, Trigger
from jobledger.runs.publishing import delivery, intervals, publisher
from tests.unit.broker import Broker, Message
from tests.unit.builders import NOON, override

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
ORDINARY = "tests.probes.tasks.add"


def queued(publish_after: datetime | None = NOON, **values: Any) -> Run:
    defaults = {"job": "probe", "trigger": Trigger.SCHEDULE, "publish_after": publish_after}
    return Run.objects.create(**{**defaults, **values})


def scheduled(**values: Any) -> PeriodicTask:
    every = IntervalSchedule.objects.create(every=1, period="days")
    return PeriodicTask.objects.create(name="mine", task="probes.probe", interval=every, **values)


def test_a_queued_run_that_is_due_is_published(broker: Broker) -> None:
    run = queued(options={"level": 2})
    assert publisher.publish_due(NOON) == 1
    (message,) = broker.messages
    assert (message.name, message.task_id, message.kwargs) == ("probes.probe", str(run.pk), {"level": 2})


def test_only_celery_call_has_a_result(broker: Broker) -> None:
    publisher.publish([queued(), queued(trigger=Trigger.CELERY)])
    assert [message.headers["ignore_result"] for message in broker.messages] == [True, False]


@pytest.mark.parametrize(
    "values",
    [{"publish_after": NOON + MINUTE}, {"publish_after": None}, {"status": Status.RUNNING}],
)
def test_other_runs_are_not_published(broker: Broker, values: dict[str, Any]) -> None:
    queued(**values)
    assert publisher.publish_due(NOON) == 0
    assert broker.messages == []


def test_a_run_is_published_again_at_growing_intervals(broker: Broker) -> None:
    run = queued()
    gaps = []
    for _ in range(9):
        run.refresh_from_db()
        publisher.publish([run])
        published_at = datetime.now(UTC)
        run.refresh_from_db()
        assert run.publish_after is not None
        gaps.append(round((run.publish_after - published_at) / MINUTE))
    assert gaps == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_while_the_broker_is_down_the_run_stays_queued_and_is_retried_soon(broker: Broker) -> None:
    run = queued()
    broker.is_down = True
    with pytest.raises(publisher.BrokerDownError, match="Connection refused"):
        publisher.publish_due(NOON)
    run.refresh_from_db()
    assert (run.status, run.publish_count) == ("queued", 0)
    assert run.publish_after == NOON + intervals.GRACE_PERIOD
    broker.is_down = False
    assert publisher.publish_due(NOON + intervals.GRACE_PERIOD) == 1


def test_a_run_that_is_claimed_while_being_published_stays_claimed(broker: Broker) -> None:
    run = queued()
    Run.objects.update(status=Status.RUNNING, publish_after=None)
    publisher.publish([run])
    run.refresh_from_db()
    assert (run.status, run.publish_after) == ("running", None)


def test_a_run_that_fails_while_being_published_keeps_the_time_of_its_retry(broker: Broker) -> None:
    run = queued()
    Run.objects.update(attempt=2, publish_after=NOON + MINUTE)
    publisher.publish([run])
    run.refresh_from_db()
    assert (run.publish_count, run.publish_after) == (0, NOON + MINUTE)


def test_an_ordinary_task_is_sent_with_its_arguments_and_its_run_waits_for_a_worker(broker: Broker) -> None:
    run = queued(job="tests.probes.tasks.add", args=[1, 2])
    publisher.publish_due(NOON)
    run.refresh_from_db()
    assert broker.messages[0].args == [1, 2]
    assert (run.status, run.publish_count) == ("queued", 1)


@pytest.mark.parametrize("task", ["celery.chord_unlock", "billing.send"])
def test_a_task_that_may_not_be_scheduled_is_never_sent(broker: Broker, task: str) -> None:
    run = queued(job=task)
    publisher.publish_due(NOON)
    run.refresh_from_db()
    assert (broker.messages, run.status, run.reason) == ([], "failed", "no_message")
    assert repr(task) in run.error


def test_a_job_that_this_process_does_not_know_is_left_to_one_that_does(broker: Broker) -> None:
    run = queued(job="added_since")
    assert publisher.publish_due(NOON) == 0
    run.refresh_from_db()
    assert (broker.messages, run.status, run.publish_count) == ([], "queued", 0)
    # Nor is it taken briefly, which would prevent the other process from publishing it.
    assert run.publish_after == NOON


def test_a_run_keeps_its_routing_when_its_schedule_is_deleted(broker: Broker) -> None:
    schedule = scheduled(queue="slow", priority=3)
    queued(schedule=schedule, routing=delivery.routing_of(schedule))
    schedule.delete()
    publisher.publish_due(NOON)
    (message,) = broker.messages
    assert (message.properties["routing_key"], message.properties["priority"]) == ("slow", 3)


def test_the_headers_of_the_schedule_are_used(broker: Broker) -> None:
    queued(schedule=scheduled(headers='{"tenant": "a"}'))
    publisher.publish_due(NOON)
    (message,) = broker.messages
    assert (message.headers["tenant"], message.headers["periodic_task_name"]) == ("a", "mine")


def test_a_schedules_headers_do_not_override_celerys_own(broker: Broker) -> None:
    schedule = scheduled(headers='{"id": ["x"], "task": {}, "timelimit": 1, "tenant": "a"}')
    run = queued(schedule=schedule)
    publisher.publish_due(NOON)
    (message,) = broker.messages
    assert (message.task_id, message.name) == (str(run.pk), "probes.probe")
    assert (message.headers["timelimit"], message.headers["tenant"]) == ([None, None], "a")


def test_a_reserved_queue_name_fails_its_run_and_no_other(broker: Broker) -> None:
    odd, even = queued(routing={"queue": "_kombu.binding.celery"}), queued()
    assert publisher.publish_due(NOON) == 2
    assert [message.task_id for message in broker.messages] == [str(even.pk)]
    odd.refresh_from_db()
    assert (odd.status, odd.reason) == ("failed", "no_message")
    assert odd.error.startswith("its queue '_kombu.binding.celery' cannot be used: ")


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"routing": [1]}, "its routing cannot be used: [1] is stored, which is not a JSON object"),
        ({"routing": {"queue": 5}}, "its queue 5 cannot be used: it is not a text"),
        ({"routing": {"exchange": ["x"]}}, "its exchange ['x'] cannot be used: it is not a text"),
        ({"routing": {"routing_key": {}}}, "its routing key {} cannot be used: it is not a text"),
        ({"routing": {"priority": "high"}}, "its priority 'high' cannot be used: it is not a whole number"),
        (
            {"routing": {"priority": 256}},
            "its priority 256 cannot be used: it is not a whole number from 0 to 255",
        ),
        ({"options": [1]}, "its options cannot be used: [1] is stored, which is not a JSON object"),
        ({"args": {"a": 1}}, 'its args cannot be used: {"a": 1} is stored, which is not a JSON array'),
    ],
)
def test_a_value_of_the_wrong_type_fails_its_run_and_no_other(
    broker: Broker, values: dict[str, Any], error: str
) -> None:
    run, other = queued(), queued()
    Run.objects.filter(pk=run.pk).update(**values)
    publisher.publish_due(NOON)
    run.refresh_from_db()
    assert (run.status, run.reason) == (Status.FAILED, "no_message")
    assert run.error.startswith(error)
    assert [message.task_id for message in broker.messages] == [str(other.pk)]


@pytest.mark.parametrize("trace", [5, ["traceparent"], {"traceparent": 5}, {"traceparent": "x"}])
def test_a_run_is_sent_without_a_trace_that_is_not_valid(broker: Broker, trace: Any) -> None:
    run = queued()
    Run.objects.filter(pk=run.pk).update(trace_context=trace)
    publisher.publish_due(NOON)
    (message,) = broker.messages
    assert "traceparent" not in message.headers


@pytest.mark.every_database
def test_a_run_that_nothing_can_have_published_so_often_stops_no_other(broker: Broker) -> None:
    run, other = queued(publish_count=2**31 - 1), queued()
    publisher.publish_due(NOON)
    assert {message.task_id for message in broker.messages} == {str(run.pk), str(other.pk)}
    run.refresh_from_db()
    assert run.publish_count == 2**31 - 1


def test_an_unexpected_error_of_one_message_fails_its_run_and_no_other(broker: Broker) -> None:
    run, other = queued(), queued()
    broker.refusals[str(run.pk)] = RuntimeError("no such luck")
    publisher.publish_due(NOON)
    run.refresh_from_db()
    assert (run.status, run.error) == (Status.FAILED, "RuntimeError: no such luck")
    assert [message.task_id for message in broker.messages] == [str(other.pk)]


@pytest.mark.parametrize("job", ["probe", ORDINARY])
@pytest.mark.parametrize("part", ["body", "headers"])
def test_a_message_too_large_for_workers_fails_its_run_and_no_other(
    broker: Broker, settings: Settings, job: str, part: str
) -> None:
    override(settings, MESSAGE_LIMIT_BYTES=20_000)
    large = {"words": ["x" * 20_000]}
    schedule = scheduled(headers=json.dumps(large) if part == "headers" else "{}")
    odd = queued(job=job, schedule=schedule, options=large if part == "body" else {})
    even = queued(job=job)
    assert publisher.publish_due(NOON) == 2
    assert [message.task_id for message in broker.messages] == [str(even.pk)]
    odd.refresh_from_db()
    assert (odd.status, odd.reason) == ("failed", "no_message")
    assert "at most 20,000 are allowed (MESSAGE_LIMIT_BYTES)" in odd.error


def test_a_message_that_the_broker_rejects_fails_its_run_and_no_other(broker: Broker) -> None:
    odd, even = queued(routing={"queue": "taken"}), queued()
    broker.batch_error = ResponseError("WRONGTYPE Operation against a key")
    broker.refusals[str(odd.pk)] = ResponseError("WRONGTYPE Operation against a key")
    assert publisher.publish_due(NOON) == 2
    assert [message.task_id for message in broker.messages] == [str(even.pk)]
    odd.refresh_from_db()
    even.refresh_from_db()
    assert (odd.status, even.status) == ("failed", "queued")
    assert odd.error == "The broker rejected the message: WRONGTYPE Operation against a key"


def test_a_broker_that_is_out_of_memory_counts_as_down(broker: Broker) -> None:
    run = queued()
    broker.batch_error = OutOfMemoryError("command not allowed when used memory > 'maxmemory'")
    with pytest.raises(publisher.BrokerDownError, match="maxmemory"):
        publisher.publish_due(NOON)
    run.refresh_from_db()
    assert run.status == "queued"


@pytest.mark.parametrize(
    "refusal",
    [TypeError("odd"), ValueError("odd"), EncodeError("odd")],
    ids=lambda refusal: type(refusal).__name__,
)
def test_a_run_whose_message_cannot_be_created_fails_and_stops_no_other(
    broker: Broker, refusal: Exception
) -> None:
    odd, even = queued(), queued()
    broker.refusals[str(odd.pk)] = refusal
    assert publisher.publish_due(NOON) == 2
    assert [message.task_id for message in broker.messages] == [str(even.pk)]
    odd.refresh_from_db()
    assert (odd.status, odd.publish_after) == ("failed", None)
    assert (odd.reason, odd.error) == ("no_message", f"{type(refusal).__name__}: {refusal}")
    assert odd.finished_at is not None


@pytest.mark.parametrize("target", [{}, {"job": ORDINARY, "options": {}, "args": [{"password": "s3same"}]}])
def test_the_reason_why_a_message_cannot_be_created_quotes_no_secret(
    broker: Broker, caplog: pytest.LogCaptureFixture, target: dict[str, Any]
) -> None:
    run = queued(**{"job": "choosing", "options": {"api_key": "s3same"}, **target})
    broker.refusals[str(run.pk)] = ValueError(f"cannot encode {run.options} {run.args}")
    publisher.publish_due(NOON)
    run.refresh_from_db()
    assert "cannot encode" in run.error
    assert "cannot encode" in run.traceback
    assert "cannot encode" in caplog.text
    assert "s3same" not in run.error + run.traceback + caplog.text


def test_the_oldest_runs_are_published_first(broker: Broker) -> None:
    late = queued(NOON - MINUTE)
    early = queued(NOON - 2 * MINUTE)
    publisher.publish_due(NOON)
    assert [message.task_id for message in broker.messages] == [str(early.pk), str(late.pk)]


@pytest.mark.parametrize("job", ["probe", ORDINARY])
def test_an_unknown_queue_fails_the_run_and_does_not_count_as_a_broker_that_is_down(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    monkeypatch.setattr(current_app.amqp.queues, "create_missing", False)
    run = queued(job=job, routing={"queue": "nowhere"})
    publisher.publish([run])
    run.refresh_from_db()
    assert run.status == "failed"
    assert "Queue 'nowhere' missing from task_queues" in run.error


@pytest.mark.parametrize("job", ["choosing", ORDINARY])
def test_secrets_are_masked_in_events_and_logs(broker: Broker, job: str) -> None:
    publisher.publish([queued(job=job, options={"api_key": "hunter2", "days": 3})])
    (message,) = broker.messages
    assert message.kwargs == {"api_key": "hunter2", "days": 3}
    assert message.headers["kwargsrepr"] == "{'api_key': '********', 'days': 3}"


def test_long_options_are_truncated_in_events_and_logs(broker: Broker) -> None:
    publisher.publish([queued(options={"words": "long" * publisher.MAX_REPR_LENGTH})])
    assert len(broker.messages[0].headers["kwargsrepr"]) == publisher.MAX_REPR_LENGTH


def test_runs_with_different_publish_counts_can_be_published_together(broker: Broker) -> None:
    counts = [0, 2, 0]
    runs = [queued(publish_count=count) for count in counts]
    before = datetime.now(UTC)
    publisher.publish(runs)
    for run, count in zip(runs, counts, strict=True):
        run.refresh_from_db()
        assert (run.publish_count, run.publish_after is not None) == (count + 1, True)
        expected = before + intervals.publish_interval(count + 1)
        assert timedelta(0) <= (run.publish_after or NOON) - expected < MINUTE / 2


def test_a_run_that_has_started_to_wait_for_another_keeps_its_own_time(broker: Broker) -> None:
    run = queued()
    Run.objects.update(concurrency_key="probe", publish_after=NOON + MINUTE)
    publisher.publish([run])
    run.refresh_from_db()
    assert (run.publish_count, run.publish_after) == (0, NOON + MINUTE)


# The message itself: Celery's documentation and extensions rely on the format of `send_task`.


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"queue": "slow", "priority": 3},
        {"exchange": "jobs", "routing_key": "nightly"},
        {"routing_key": "nightly"},
        {"headers": '{"tenant": "a"}'},
    ],
    ids=str,
)
def test_the_message_of_a_job_is_the_same_as_that_of_send_task(
    broker: Broker, values: dict[str, Any]
) -> None:
    schedule = scheduled(**values)
    run = queued(options={"level": 2}, schedule=schedule, routing=delivery.routing_of(schedule))
    tenant = {"tenant": "a"} if "headers" in values else {}
    headers = {"periodic_task_name": "mine", "jobledger_run": True} | tenant
    current_app.send_task(
        "probes.probe",
        args=[],
        kwargs={"level": 2},
        task_id=str(run.pk),
        ignore_result=True,
        retry=False,
        timeout=publisher.CONFIRM_SECONDS,
        **{**values, "headers": headers},
    )
    publisher.publish([run])
    theirs, ours = broker.messages
    assert _without_details(ours) == _without_details(theirs)


def _without_details(message: Message) -> dict[str, Any]:
    """Omit the reply queue, which only matters for results that are sent as messages."""
    return {**vars(message), "properties": {**message.properties, "reply_to": ""}}


def test_the_time_limit_is_left_to_the_worker_which_may_have_newer_code(broker: Broker) -> None:
    publisher.publish([queued(job="limited")])
    assert broker.messages[0].headers["timelimit"] == [None, None]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        # With the job's grace period of two seconds, and a margin of ten.
        ({"time_limit": MINUTE}, [72.0, 60.0]),
        ({"time_limit": MINUTE, "time_limit_grace": timedelta(0)}, [70.0, 60.0]),
        ({"time_limit_grace": MINUTE}, [75.0, 5.0]),
        ({"time_limit": timedelta(days=4000)}, [315_360_000, 345_600_000.0]),
    ],
)
def test_the_time_limit_of_a_schedule_is_sent_along(
    own: dict[str, Any], expected: list[float], broker: Broker
) -> None:
    publisher.publish([queued(job="limited", **own)])
    assert broker.messages[0].headers["timelimit"] == expected


def test_an_ordinary_task_gets_the_time_limit_of_its_schedule_as_celerys(broker: Broker) -> None:
    publisher.publish([queued(job=ORDINARY, time_limit=MINUTE), queued(job=ORDINARY)])
    assert [each.headers["timelimit"] for each in broker.messages] == [[100.0, 60.0], [None, None]]


def test_a_job_is_sent_as_json_whatever_the_projects_tasks_use(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(current_app.conf, "task_serializer", "pickle")
    publisher.publish([queued()])
    assert broker.messages[0].serializer == "json"


def test_task_routes_are_respected(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = prepare([lambda name, *args, **kwargs: {"queue": "by rule"}])
    monkeypatch.setattr(current_app.amqp.router, "routes", rules)
    publisher.publish([queued()])
    assert broker.messages[0].properties["routing_key"] == "by rule"


@contextmanager
def listening(signal: Any, listener: Any) -> Iterator[None]:
    signal.connect(listener)
    try:
        yield
    finally:
        signal.disconnect(listener)


@pytest.mark.parametrize("job", ["probe", ORDINARY])
def test_signal_receivers_can_change_each_message(broker: Broker, job: str) -> None:
    told: list[str] = []

    def listen(sender: str, headers: dict[str, Any], **kwargs: Any) -> None:
        headers["seen"] = len(told)
        told.append(headers["id"])

    runs = [queued(job=job), queued(job=job)]
    with listening(signals.before_task_publish, listen):
        publisher.publish(runs)
    assert told == [str(run.pk) for run in runs]
    assert [message.headers["seen"] for message in broker.messages] == [0, 1]
