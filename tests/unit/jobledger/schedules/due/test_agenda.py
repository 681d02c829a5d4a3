"""What beat has to do next, and when."""

import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobledger.models import (
    Alert,
    AlertDelivery,
    AlertDestination,
    Backfill,
    NextSlot,
    Ping,
    Run,
    SchedulePolicy,
    Status,
    Trigger,
)
from jobledger.schedules.due import agenda
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def create_run(**values: Any) -> Run:
    return Run.objects.create(**{"job": "probe", "trigger": Trigger.CLI, **values})


def test_without_schedules_and_runs_there_is_nothing_to_do() -> None:
    todo = agenda.read()
    assert todo.following_due_at is None
    assert (todo.next_due_at, todo.next_publish_after, todo.next_deadline, todo.next_silence) == (None,) * 4
    assert todo.is_idle(NOON)


def test_the_schedule_that_is_due_first_counts() -> None:
    for minutes, name in enumerate(("one", "two"), 1):
        hourly(name)
        NextSlot.objects.filter(schedule__name=name).update(due_at=NOON + minutes * MINUTE)
    todo = agenda.read()
    assert (todo.next_due_at, todo.following_due_at) == (NOON + MINUTE, NOON + 2 * MINUTE)


def test_the_queued_run_that_is_to_be_published_first_counts() -> None:
    for minutes in 1, 0:
        create_run(publish_after=NOON + minutes * MINUTE)
    create_run(publish_after=NOON - MINUTE, status=Status.RUNNING)
    create_run(publish_after=NOON - MINUTE, job="added_since")
    assert agenda.read().next_publish_after == NOON


def test_the_queued_run_that_expires_first_counts() -> None:
    for minutes in 1, 0:
        create_run(start_before=NOON + minutes * MINUTE)
    create_run(start_before=NOON - MINUTE, status=Status.RUNNING)
    assert agenda.read().next_deadline == NOON


def test_a_running_run_is_looked_at_when_it_has_been_silent_for_a_quarter_of_its_lease() -> None:
    for status, heartbeat_at in ("running", NOON), ("running", NOON + MINUTE), ("lost", NOON - MINUTE):
        create_run(status=status, heartbeat_at=heartbeat_at)
    todo = agenda.read()
    assert todo.is_idle(NOON + timedelta(seconds=15))
    assert not todo.is_idle(NOON + timedelta(seconds=15, microseconds=1))


def test_every_tables_part_of_the_statement_is_read_by_an_index() -> None:
    with CaptureQueriesContext(connection) as queries:
        agenda.read()
    plan = plan_of(queries[0]["sql"])
    for index in "run_to_publish", "run_to_expire", "run_by_status", "slot_to_look_at":
        assert index in plan
    assert not re.search(r"SCAN jobledger_\w+$|Seq Scan", plan, re.MULTILINE)


def plan_of(sql: str) -> str:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # It would read a small table whole.
            cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"{'EXPLAIN' if connection.vendor == 'postgresql' else 'EXPLAIN QUERY PLAN'} {sql}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def test_the_backfill_that_is_to_be_looked_at_first_counts() -> None:
    for minutes in 1, 0:
        Backfill.objects.create(since=NOON, until=NOON, look_at=NOON + minutes * MINUTE)
    todo = agenda.read()
    assert todo.next_backfill == NOON
    assert todo.times() == [NOON]
    assert (todo.is_idle(NOON - MINUTE), todo.is_idle(NOON)) == (True, False)


def test_alerts_and_pings_that_are_to_be_sent_are_not_beats_own_work() -> None:
    schedule = hourly()
    SchedulePolicy.objects.filter(schedule=schedule).update(ping_url="https://monitor.example/1")
    assert agenda.read().next_message is None
    destination = AlertDestination.objects.create(name="team", kind="mail")
    waiting = {"alert": Alert.objects.create(kind="failed", job="probe"), "destination_name": "team"}
    AlertDelivery.objects.create(**waiting, destination=destination, due_at=NOON + 3 * MINUTE)
    assert agenda.read().next_message == NOON + 3 * MINUTE
    run = create_run(status=Status.RUNNING, schedule=schedule, started_at=NOON + 2 * MINUTE)
    assert agenda.read().next_message == NOON + 2 * MINUTE
    Ping.objects.create(run=run, schedule=schedule, event="start", due_at=NOON + MINUTE)
    todo = agenda.read()
    assert todo.next_message == NOON + MINUTE
    assert todo.is_idle(NOON + MINUTE)


def test_the_results_that_are_to_be_looked_for_are_not_beats_own_work() -> None:
    assert agenda.read().next_result is None
    for minutes in 2, 1:
        create_run(status=Status.SENT, look_at=NOON + minutes * MINUTE)
    todo = agenda.read()
    assert (todo.next_result, todo.times()) == (NOON + MINUTE, [NOON + MINUTE])
    assert todo.is_idle(NOON + MINUTE)


@pytest.mark.parametrize("field", ["next_due_at", "next_publish_after", "next_deadline", "next_silence"])
def test_whatever_is_due_first_is_to_be_done(field: str) -> None:
    todo = agenda_with(**{field: NOON})
    assert not todo.is_idle(NOON)
    assert todo.is_idle(NOON - timedelta.resolution)


@pytest.mark.parametrize("field", ["following_due_at", "next_publish_after", "next_deadline", "next_silence"])
def test_a_schedule_is_due_alone_if_nothing_else_is_to_be_done(field: str) -> None:
    assert agenda_with(next_due_at=NOON).is_one_schedule(NOON)
    assert not agenda_with(next_due_at=NOON, **{field: NOON}).is_one_schedule(NOON)
    assert not agenda_with().is_one_schedule(NOON)


def test_once_the_first_schedule_was_recorded_it_or_the_second_is_next() -> None:
    todo = agenda_with(next_due_at=NOON, following_due_at=NOON + 2 * MINUTE)
    one, two, three = (NOON + minutes * MINUTE for minutes in (1, 2, 3))
    for again, expected in (None, two), (three, two), (one, one):
        left = todo.without_first(due_again_at=again)
        assert left.next_due_at == expected
        assert not left.is_complete


def agenda_with(**times: datetime) -> agenda.Agenda:
    """Nothing is to be done before a minute past noon, except at these times."""
    fields = ("next_due_at", "following_due_at", "next_publish_after", "next_deadline", "next_silence")
    later: dict[str, Any] = dict.fromkeys(fields, NOON + MINUTE)
    return agenda.Agenda(read_at=NOON, **{**later, **times})
