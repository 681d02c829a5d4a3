"""Queued runs are published as often as it takes, at growing intervals, and routed as their schedule says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery.exceptions import QueueNotFound
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from kombu.exceptions import EncodeError, OperationalError

from jobledger.models import Run, Status, Trigger
from jobledger.runs.publishing import publisher
from jobledger.runs.publishing.messages import Sender
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
ODD = {"level": 1}


class Broker:
    """What was given to it; it can be down."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.is_down = False
        self.refusal: Exception | None = None

    def send(self, name: str, **message: Any) -> None:
        if self.is_down:
            raise OperationalError("Connection refused")
        if self.refusal and message["kwargs"] == ODD:
            raise self.refusal
        self.messages.append({"name": name, **message})


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    """In place of the real one."""
    made = Broker()
    monkeypatch.setattr(Sender, "send_job", made.send)
    monkeypatch.setattr(Sender, "send_ordinary", made.send)
    return made


def queued(publish_after: datetime | None = NOON, **values: Any) -> Run:
    defaults = {"job": "probe", "trigger": Trigger.SCHEDULE, "publish_after": publish_after}
    return Run.objects.create(**{**defaults, **values})


def scheduled(**values: Any) -> PeriodicTask:
    every = IntervalSchedule.objects.create(every=1, period="days")
    return PeriodicTask.objects.create(name="mine", task="probes.probe", interval=every, **values)


def test_a_queued_run_whose_time_has_come_is_published(broker: Broker) -> None:
    run = queued(options={"level": 2})
    assert publisher.publish_due(NOON) == 1
    (message,) = broker.messages
    assert (message["name"], message["task_id"], message["kwargs"]) == (
        "probes.probe",
        str(run.pk),
        {"level": 2},
    )


def test_only_who_called_by_celery_call_may_wait_for_a_result(broker: Broker) -> None:
    queued(trigger=Trigger.CELERY)
    publisher.publish_due(NOON)
    assert broker.messages[0]["ignore_result"] is False


@pytest.mark.parametrize(
    "values",
    [{"publish_after": NOON + MINUTE}, {"publish_after": None}, {"status": Status.RUNNING}],
)
def test_no_other_run_is(broker: Broker, values: dict[str, Any]) -> None:
    queued(**values)
    assert publisher.publish_due(NOON) == 0
    assert broker.messages == []


def test_a_published_run_comes_up_again_later_each_time(broker: Broker) -> None:
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


def test_a_broker_that_is_down_leaves_the_run_queued_and_it_is_tried_again_soon(broker: Broker) -> None:
    run = queued()
    broker.is_down = True
    with pytest.raises(publisher.BrokerDownError, match="Connection refused"):
        publisher.publish_due(NOON)
    run.refresh_from_db()
    assert (run.status, run.publish_count) == ("queued", 0)
    assert run.publish_after == NOON + publisher.GRACE_OF_THE_RECORDER
    broker.is_down = False
    assert publisher.publish_due(NOON + publisher.GRACE_OF_THE_RECORDER) == 1


def test_a_run_that_was_claimed_while_it_was_published_stays_claimed(broker: Broker) -> None:
    run = queued()
    Run.objects.update(status=Status.RUNNING, publish_after=None)
    publisher.publish([run])
    run.refresh_from_db()
    assert (run.status, run.publish_after) == ("running", None)


def test_a_run_that_failed_while_it_was_published_waits_for_its_own_time(broker: Broker) -> None:
    run = queued()
    Run.objects.update(attempt=2, publish_after=NOON + MINUTE)
    publisher.publish([run])
    run.refresh_from_db()
    assert (run.publish_count, run.publish_after) == (0, NOON + MINUTE)


def test_an_ordinary_task_is_sent_with_its_arguments_and_that_is_its_end(broker: Broker) -> None:
    run = queued(job="tests.probes.tasks.add", args=[1, 2])
    publisher.publish_due(NOON)
    run.refresh_from_db()
    assert broker.messages[0]["args"] == [1, 2]
    assert (run.status, run.publish_after) == ("sent", None)


def test_a_job_that_this_process_does_not_know_is_left_to_one_that_does(broker: Broker) -> None:
    run = queued(job="added_since")
    publisher.publish_due(NOON)
    run.refresh_from_db()
    assert (broker.messages, run.status, run.publish_count) == ([], "queued", 0)


def test_the_schedules_routing_is_kept(broker: Broker) -> None:
    schedule = scheduled(queue="slow", priority=3, headers='{"tenant": "a"}')
    queued(schedule=schedule)
    publisher.publish_due(NOON)
    (message,) = broker.messages
    assert (message["queue"], message["priority"]) == ("slow", 3)
    assert message["headers"] == {"tenant": "a", "periodic_task_name": "mine"}
    assert "exchange" not in message


@pytest.mark.parametrize("headers", ["{", "[1]", "null"])
def test_headers_that_are_no_object_do_not_stop_the_run(broker: Broker, headers: str) -> None:
    schedule = scheduled()
    PeriodicTask.objects.update(headers=headers)
    queued(schedule=PeriodicTask.objects.get(pk=schedule.pk))
    publisher.publish_due(NOON)
    assert broker.messages[0]["headers"] == {"periodic_task_name": "mine"}


@pytest.mark.parametrize(
    "refusal",
    [TypeError("odd"), ValueError("odd"), EncodeError("odd"), QueueNotFound("odd")],
    ids=lambda refusal: type(refusal).__name__,
)
def test_a_run_of_which_no_message_can_be_made_fails_and_stops_no_other(
    broker: Broker, refusal: Exception
) -> None:
    odd, even = queued(options=ODD), queued(options={"level": 2})
    broker.refusal = refusal
    assert publisher.publish_due(NOON) == 2
    assert [message["task_id"] for message in broker.messages] == [str(even.pk)]
    odd.refresh_from_db()
    assert (odd.status, odd.publish_after) == ("failed", None)
    assert odd.error == f"Its message could not be made: {type(refusal).__name__}: {refusal}"
    assert odd.finished_at is not None


def test_the_oldest_come_first(broker: Broker) -> None:
    late = queued(NOON - MINUTE)
    early = queued(NOON - 2 * MINUTE)
    publisher.publish_due(NOON)
    assert [message["task_id"] for message in broker.messages] == [str(early.pk), str(late.pk)]


def test_the_next_moment_is_that_of_the_first_queued_run() -> None:
    assert publisher.next_publish_after() is None
    queued(NOON + MINUTE)
    queued(NOON)
    queued(NOON - MINUTE, status=Status.RUNNING)
    assert publisher.next_publish_after() == NOON


@pytest.mark.parametrize("job", ["choosing", "tests.probes.tasks.add"])
def test_who_watches_the_messages_sees_no_secret(broker: Broker, job: str) -> None:
    publisher.publish([queued(job=job, options={"api_key": "hunter2", "days": 3})])
    (message,) = broker.messages
    assert message["kwargs"] == {"api_key": "hunter2", "days": 3}
    assert message["shown"] == {"api_key": "********", "days": 3}
