"""The number of queries for upcoming runs does not depend on the number of schedules."""

from datetime import timedelta
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.models import NextSlot, SchedulePolicy
from jobledger.schedules import pausing
from jobledger.schedules.due import ledger
from jobledger.schedules.forecasts.upcoming import Upcoming, upcoming
from jobledger.schedules.pausing import Terms
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.admin.schedules.schedules import unreadable
from tests.unit.jobledger.schedules.builders import NOON, every, hourly

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
EDGES = [NOON + HOUR * place for place in range(4)]


def followed(schedule: PeriodicTask) -> PeriodicTask:
    """As beat left it at noon, whatever the current time is."""
    NextSlot.objects.filter(pk=schedule.pk).update(handled_until=NOON, due_at=NOON + HOUR / 60)
    return schedule


def counts(found: Upcoming) -> dict[str, list[int]]:
    return {
        each.name: [each.starts[place].count if place in each.starts else 0 for place in range(3)]
        for each in found.schedules
    }


def test_each_schedule_has_its_own_starts() -> None:
    followed(hourly("hourly", minute="30"))
    # The delay depends on the key: with this one, it is longer than a minute.
    jittered = followed(hourly("jittered", minute="59", pk=1_000_001))
    SchedulePolicy.objects.filter(pk=jittered.pk).update(jitter=HOUR)
    followed(every(1, "every second"))
    assert counts(upcoming(EDGES, limit=10)) == {
        "hourly": [1, 1, 1],
        "jittered": [0, 1, 1],
        "every second": [3599, 3600, 3600],
    }


def test_disabled_paused_broken_and_later_schedules_start_nothing() -> None:
    followed(hourly("disabled", enabled=False))
    NextSlot.objects.filter(pk=followed(hourly("broken")).pk).update(due_at=None, broken="its task is gone")
    NextSlot.objects.filter(pk=followed(hourly("later")).pk).update(due_at=NOON + 4 * HOUR)
    followed(unreadable(hourly("unreadable")))
    followed(every(1, "impossible"))
    IntervalSchedule.objects.update(every=-1)
    paused = followed(hourly("paused", minute="30"))
    pausing.pause(paused, Terms(until=NOON + 2 * HOUR), now=NOON)
    followed(paused)
    assert counts(upcoming(EDGES, limit=10)) == {"paused": [0, 0, 1]}
    pausing.pause(None, Terms(until=NOON + 3 * HOUR), now=NOON)
    assert counts(upcoming(EDGES, limit=10)) == {}


def test_a_job_that_is_exempt_from_pauses_starts_runs_while_the_service_is_paused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    exempt = followed(hourly("exempt", minute="30"))
    pausing.pause(None, Terms(until=None), now=NOON)
    followed(exempt)
    assert counts(upcoming(EDGES, limit=10)) == {"exempt": [1, 1, 1]}


def test_at_most_the_limit_of_schedules_is_included_and_the_result_says_so() -> None:
    for name in ("first", "second", "third"):
        followed(hourly(name))
    assert upcoming(EDGES, limit=3).is_complete
    found = upcoming(EDGES, limit=2)
    assert (sorted(counts(found)), found.is_complete) == (["first", "second"], False)


def test_the_number_of_queries_does_not_grow(django_assert_num_queries: Any) -> None:
    crontab = CrontabSchedule.objects.create(minute="5")
    made = [PeriodicTask(name=f"number {n}", task="probes.probe", crontab=crontab) for n in range(30)]
    PeriodicTask.objects.bulk_create(made)
    ledger.sync([each.pk for each in made], NOON)
    with django_assert_num_queries(3):
        assert len(upcoming(EDGES, limit=100).schedules) == 30
