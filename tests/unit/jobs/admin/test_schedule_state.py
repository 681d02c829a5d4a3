"""How a schedule stands, and why it does not start."""

from datetime import timedelta

import pytest
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin import schedule_state
from tasks_app.jobs.models import NextSlot, Run, Trigger
from tasks_app.jobs.scheduling import pausing
from tasks_app.jobs.scheduling.pausing import Terms
from tests.unit.jobs.scheduling.builders import NOON, hourly

pytestmark = pytest.mark.django_db


def word(schedule: PeriodicTask) -> tuple[str, str]:
    """The mark's word, and the reason."""
    state = schedule_state.state_of(schedule, NOON, with_runs=True)
    return state.mark.rpartition("</svg>")[2].removesuffix("</span>"), state.reason


def test_it_is_switched_on_or_off() -> None:
    assert word(hourly("on")) == ("switched on", "")
    assert word(hourly("off", enabled=False)) == ("switched off", "")


def test_a_pause_says_until_when_by_whom_and_why() -> None:
    schedule = hourly()
    pausing.pause(schedule, Terms(until=NOON + timedelta(hours=1), reason="move", who="ann"), now=NOON)
    assert word(schedule) == ("paused", "until 2026-03-02 13:00:00 UTC, by ann: move")


def test_a_pause_of_the_whole_service_is_no_pause_of_its_own() -> None:
    schedule = hourly()
    pausing.pause(None, Terms(until=None), now=NOON)
    assert word(schedule) == ("the whole service is paused", "until somebody resumes it")
    assert schedule_state.state_of(schedule, NOON, with_runs=True).own_pause is None


def test_what_is_broken_says_why() -> None:
    schedule = hourly()
    NextSlot.objects.update(broken="hour: 25", slot=None, due_at=None)
    assert word(schedule) == ("broken", "hour: 25")


def test_what_has_no_slot_to_come_is_over() -> None:
    schedule = hourly(expires=NOON - timedelta(days=10000))
    assert word(schedule) == ("over", "There is no slot to come.")


def test_the_last_run_is_its_own_and_the_newest() -> None:
    schedule = hourly()
    for hours, owner in ((3, schedule), (1, schedule), (0, None)):
        queued_at = NOON - timedelta(hours=hours)
        Run.objects.create(job="probe", schedule=owner, trigger=Trigger.ADMIN, queued_at=queued_at)
    last = schedule_state.state_of(schedule, NOON, with_runs=True).last_run
    assert last is not None
    assert last.queued_at == NOON - timedelta(hours=1)
