"""A schedule whose predecessors start nothing says which of them, and why."""

from datetime import timedelta

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.models import NextSlot, Pause, Run, Status
from jobledger.schedules.chains.obstacles import lasting_obstacle, obstacles_of
from jobledger.schedules.due import ledger
from tests.unit.jobledger.schedules.builders import NOON, hourly
from tests.unit.jobledger.schedules.chains.builders import ended, follower

pytestmark = pytest.mark.django_db


def sentences(schedule: PeriodicTask) -> list[str]:
    return [each.sentence for each in obstacles_of(schedule, NOON)]


def disable(schedule: PeriodicTask) -> None:
    schedule.enabled = False
    schedule.save()


def test_nothing_is_said_while_the_others_run_or_have_not_run_yet() -> None:
    first = hourly("first")
    then = follower("first", since=NOON)
    assert sentences(then) == []
    ended(first, NOON)
    assert sentences(then) == sentences(first) == []


def test_others_that_are_disabled_broken_or_over_are_lasting() -> None:
    first, second, third = hourly("first"), hourly("second"), hourly("third")
    then = follower("first", "second", "third", since=NOON)
    disable(first)
    NextSlot.objects.filter(pk=second.pk).update(broken="its task is gone", slot=None, due_at=None)
    NextSlot.objects.filter(pk=third.pk).update(slot=None, due_at=None)
    assert sentences(then) == [
        "It does not start: first is disabled.",
        "It does not start: second is broken.",
        "It does not start: third has no next run.",
    ]
    assert lasting_obstacle(then) == "first is disabled"


def test_what_keeps_a_chain_from_starting_keeps_what_follows_it() -> None:
    first = hourly("first")
    follower("first", since=NOON, name="then")
    last = follower("then", since=NOON, name="last")
    assert lasting_obstacle(last) == ""
    disable(first)
    assert (sentences(last), lasting_obstacle(last)) == (
        ["It does not start: first is disabled."],
        "first is disabled",
    )


def test_a_pause_of_another_is_said_while_it_lasts_and_is_not_lasting() -> None:
    first = hourly("first")
    then = follower("first", since=NOON)
    Pause.objects.create(schedule=first, since=NOON - timedelta(hours=1), until=NOON + timedelta(hours=1))
    assert sentences(then) == ["It does not start: first is paused."]
    assert lasting_obstacle(then) == ""
    assert obstacles_of(then, NOON + timedelta(hours=1)) == []


def test_the_last_run_of_another_is_said_unless_it_is_one_to_start_after() -> None:
    first = hourly("first")
    then = follower("first", since=NOON)
    anyway = follower("first", since=NOON, name="anyway", after_failure=True)
    ended(first, NOON - timedelta(hours=1), Status.FAILED)
    said = "It did not start last time: the run of first for 2026-03-02 11:00:00 UTC is recorded as failed."
    assert (sentences(then), sentences(anyway)) == ([said], [])
    ended(first, NOON, Status.RUNNING)
    assert sentences(then) == [said]
    ended(first, NOON + timedelta(hours=1))
    assert sentences(then) == []


def test_a_cycle_in_the_database_is_looked_at_once() -> None:
    follower("two", since=NOON, name="one")
    two = follower("one", since=NOON, name="two")
    ledger.sync([two.pk], NOON)
    assert lasting_obstacle(two) == ""


def test_nothing_is_said_of_a_task_whose_end_is_not_known_yet() -> None:
    first = hourly("first")
    then = follower("first", since=NOON)
    run = ended(first, NOON - timedelta(hours=1), Status.SENT, look_at=NOON)
    assert sentences(then) == []
    Run.objects.filter(pk=run.pk).update(look_at=None)
    assert sentences(then) == [
        "It did not start last time: the run of first for 2026-03-02 11:00:00 UTC is recorded as sent."
    ]
