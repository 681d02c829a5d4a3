"""The last runs of many schedules, with two queries."""

from datetime import timedelta
from typing import Any

import pytest

from tasks_app.jobs.admin import latest_runs
from tasks_app.jobs.models import Status
from tests.unit.jobs.admin.schedules import run_of
from tests.unit.jobs.scheduling.builders import NOON, hourly

pytestmark = pytest.mark.django_db


def test_each_schedule_has_its_own_newest_first() -> None:
    one, two = hourly("one"), hourly("two")
    for minutes_ago in (3, 1, 2):
        run_of(one, minutes_ago=minutes_ago)
    only = run_of(two, minutes_ago=9)
    found = latest_runs.of_schedules([one.pk, two.pk], 2)
    assert [run.queued_at for run in found[one.pk]] == [NOON - timedelta(minutes=ago) for ago in (1, 2)]
    assert [run.id for run in found[two.pk]] == [only.pk]


def test_who_is_not_asked_about_or_has_no_runs_is_left_out() -> None:
    one, two = hourly("one"), hourly("two")
    run_of(two)
    assert latest_runs.of_schedules([one.pk], 5) == {}
    assert latest_runs.of_schedules([], 5) == {}


def test_of_runs_of_one_moment_no_more_come_than_wanted() -> None:
    schedule = hourly()
    for _ in range(5):
        run_of(schedule)
    assert len(latest_runs.of_schedules([schedule.pk], 3)[schedule.pk]) == 3


def test_many_schedules_cost_two_queries(django_assert_num_queries: Any) -> None:
    schedules = [hourly(f"number {number}") for number in range(10)]
    for schedule in schedules:
        run_of(schedule)
    with django_assert_num_queries(2):
        assert len(latest_runs.of_schedules([each.pk for each in schedules], 20)) == 10


@pytest.mark.parametrize(
    ("values", "took"),
    [
        ({"seconds": 5}, timedelta(seconds=5)),
        ({"status": Status.RUNNING, "finished_at": None, "minutes_ago": 2}, timedelta(minutes=2)),
        ({"status": Status.MISSED, "started_at": None}, None),
        ({"status": Status.QUEUED, "finished_at": None}, None),
    ],
)
def test_a_run_took_as_long_as_it_was_executed(values: dict[str, Any], took: timedelta | None) -> None:
    schedule = hourly()
    run_of(schedule, **values)
    (run,) = latest_runs.of_schedules([schedule.pk], 1)[schedule.pk]
    assert run.took(NOON) == took
