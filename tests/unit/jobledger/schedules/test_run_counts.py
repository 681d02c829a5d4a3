"""django-celery-beat's own figures are kept, many at once."""

from datetime import timedelta

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.models import Run, Trigger
from jobledger.schedules import run_counts
from jobledger.schedules.run_counts import RunCounts
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db


def run_of(schedule: PeriodicTask) -> Run:
    return Run(job="probe", trigger=Trigger.SCHEDULE, schedule=schedule)


def figures(schedule: PeriodicTask) -> tuple[object, int]:
    schedule.refresh_from_db()
    return schedule.last_run_at, schedule.total_run_count


def test_runs_of_several_ticks_are_counted_together() -> None:
    often, once, never = hourly("often"), hourly("once"), hourly("never")
    counts = RunCounts()
    counts.add([run_of(often), run_of(once)], NOON)
    counts.add([run_of(often)], NOON + timedelta(seconds=1))
    counts.write()
    assert [figures(each)[1] for each in (often, once, never)] == [2, 1, 0]
    assert figures(often)[0] == NOON + timedelta(seconds=1)
    assert figures(never)[0] is None


def test_what_is_written_is_not_written_again() -> None:
    schedule = hourly()
    counts = RunCounts()
    counts.add([run_of(schedule)], NOON)
    counts.write()
    counts.write()
    assert figures(schedule) == (NOON, 1)


def test_very_many_do_not_wait_for_a_quiet_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_counts, "MOST", 2)
    counts = RunCounts()
    counts.add([run_of(hourly("one"))], NOON)
    assert not counts.is_full
    counts.add([run_of(hourly("another"))], NOON)
    assert counts.is_full
