"""Who else is due in the same minutes."""

from datetime import timedelta
from typing import Any

import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.models import NextSlot
from jobledger.schedules import neighbours
from tests.unit.jobledger.schedules.builders import NOON

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)


def due(name: str, seconds: float) -> PeriodicTask:
    interval, _ = IntervalSchedule.objects.get_or_create(every=1, period="days")
    schedule = PeriodicTask.objects.create(name=name, task="probes.probe", interval=interval)
    NextSlot.objects.filter(pk=schedule.pk).update(due_at=NOON + timedelta(seconds=seconds))
    return schedule


def test_each_minute_names_those_that_are_due_in_it() -> None:
    for name, seconds in (("b", 0), ("a", 59.9), ("before", -0.1), ("later", 60), ("far", 600)):
        due(name, seconds)
    found = neighbours.in_minutes([NOON, NOON + MINUTE, NOON + 5 * MINUTE])
    assert [(each.minute, each.names) for each in found] == [(NOON, ("b", "a")), (NOON + MINUTE, ("later",))]


def test_a_schedule_is_no_neighbour_of_itself() -> None:
    assert neighbours.in_minutes([NOON], but=due("mine", 1).pk) == []


def test_many_are_counted_and_some_are_named() -> None:
    for number in range(8):
        due(f"schedule {number}", number)
    (found,) = neighbours.in_minutes([NOON])
    assert (found.names[0], len(found.names), found.count, found.unnamed) == ("schedule 0", 5, 8, 3)


def test_one_query_counts_and_one_a_minute_names(django_assert_num_queries: Any) -> None:
    minutes = [NOON + number * MINUTE for number in range(10)]
    with django_assert_num_queries(1):
        neighbours.in_minutes(minutes)
    due("one", 0)
    due("other", 61)
    with django_assert_num_queries(3):
        neighbours.in_minutes(minutes)
    with django_assert_num_queries(0):
        assert neighbours.in_minutes([]) == []
