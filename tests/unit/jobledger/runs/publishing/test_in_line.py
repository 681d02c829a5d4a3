"""A run that others of its queue are ahead of is not published again, as long as these are being started."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobledger.models import Run, Status, Trigger
from jobledger.runs.publishing import in_line, intervals, publisher
from jobledger.runs.publishing.in_line import KNOWN_FOR, Line
from tests.unit.broker import Broker
from tests.unit.builders import NOON

pytestmark = pytest.mark.django_db

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
QUEUED_AT = NOON - MINUTE


def published(**values: Any) -> Run:
    """A run that was published a minute ago."""
    given = {"publish_count": 1, "publish_after": NOON, "queued_at": QUEUED_AT, **values}
    return Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, **given)


def started(before: timedelta = SECOND, **values: Any) -> Run:
    given = {"status": Status.SUCCEEDED, "queued_at": QUEUED_AT, "started_at": NOON - before}
    return Run.objects.create(**{"job": "probe", "trigger": Trigger.SCHEDULE, **given, **values})


def is_published_again(run: Run, broker: Broker) -> bool:
    assert publisher.publish_due(NOON) == 1
    run.refresh_from_db()
    is_sent = [message.task_id for message in broker.messages] == [str(run.pk)]
    assert run.publish_count == (2 if is_sent else 1)
    return is_sent


@pytest.mark.parametrize("ahead", [timedelta(0), MINUTE])
def test_a_run_is_in_line_while_those_that_were_queued_before_it_are_being_started(
    broker: Broker, ahead: timedelta
) -> None:
    started(queued_at=QUEUED_AT - ahead)
    run = published()
    assert not is_published_again(run, broker)
    assert run.publish_after == NOON + intervals.publish_interval(1)


def test_a_run_is_late_once_a_newer_one_was_started(broker: Broker) -> None:
    started()
    started(queued_at=QUEUED_AT + SECOND)
    assert is_published_again(published(), broker)


def test_all_are_late_if_none_was_started_lately(broker: Broker) -> None:
    """All messages may be lost, or the queue may have no worker."""
    started(before=intervals.publish_interval(1))
    assert is_published_again(published(), broker)


@pytest.mark.parametrize(
    "values", [{"job": "talking"}, {"routing": {"queue": "other"}}, {"attempt": 2}, {"started_at": None}]
)
def test_only_first_attempts_of_the_same_queue_tell(broker: Broker, values: dict[str, Any]) -> None:
    started(**values)
    assert is_published_again(published(), broker)


def test_each_of_many_queued_at_the_same_time_may_be_the_last_that_was_started(broker: Broker) -> None:
    for seconds in (300, 200, 1, 400):
        started(before=timedelta(seconds=seconds))
    assert not is_published_again(published(), broker)


def test_a_run_that_was_never_published_is_not_in_line(broker: Broker) -> None:
    started()
    run = published(publish_count=0)
    publisher.publish_due(NOON)
    assert [message.task_id for message in broker.messages] == [str(run.pk)]


def test_what_is_in_line_is_updated_once_each_time_it_is_looked_at(broker: Broker) -> None:
    """Each update adds an entry to every index, and a long queue is looked at all the time."""
    started()
    published()
    with CaptureQueriesContext(connection) as queries:
        publisher.publish_due(NOON)
    assert len([each for each in queries if each["sql"].startswith("UPDATE")]) == 1


def test_how_far_a_queue_has_been_read_is_found_out_once_for_the_batches_of_a_few_seconds(
    django_assert_num_queries: Any,
) -> None:
    """Of a long queue there are many batches, and each look passes all of it."""
    started()
    runs, line = [published(), published()], Line()
    for at, queries in (NOON, 2), (NOON, 0), (NOON + KNOWN_FOR, 2), (NOON, 2):
        with django_assert_num_queries(queries):
            assert line.still_in_line(runs, at) == runs


def test_the_more_are_queued_the_later_those_in_line_are_looked_at_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_line, "LOOKS_PER_SECOND", 0.1)
    started()
    run = published()
    Run.objects.bulk_create(
        Run(job="probe", trigger=Trigger.API, publish_count=1, publish_after=NOON + MINUTE) for _ in range(9)
    )
    assert not is_published_again(run, broker)
    assert run.publish_after == NOON + 100 * SECOND


def test_what_is_queued_is_counted_once_a_minute(django_assert_num_queries: Any) -> None:
    published()
    line = Line()
    for at, queries in (NOON, 1), (NOON + 59 * SECOND, 0), (NOON + MINUTE, 1), (NOON, 1):
        with django_assert_num_queries(queries):
            assert line.look_again_at(at) == at + intervals.publish_interval(1)


def test_each_queue_is_read_at_a_pace_of_its_own() -> None:
    started()
    runs = [published(), published(routing={"queue": "other"})]
    assert Line().still_in_line(runs, NOON) == runs[:1]


def test_a_run_that_is_claimed_meanwhile_stays_claimed(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    started()
    run = published()
    still_in_line = Line.still_in_line

    def claimed_meanwhile(*args: Any) -> list[Run]:
        found = still_in_line(*args)
        Run.objects.filter(pk=run.pk).update(status=Status.RUNNING, publish_after=None)
        return found

    monkeypatch.setattr(Line, "still_in_line", claimed_meanwhile)
    publisher.publish_due(NOON)
    run.refresh_from_db()
    assert (run.status, run.publish_after) == (Status.RUNNING, None)
