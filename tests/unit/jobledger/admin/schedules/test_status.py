"""A schedule's status, and why it does not start."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin.schedules import status
from jobledger.admin.schedules.status import ScheduleOverview
from jobledger.models import NextSlot, Pause, Run, Trigger
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from tests.unit.jobledger.admin.schedules.schedules import run_of, unreadable
from tests.unit.jobledger.schedules.builders import NOON, every, hourly

pytestmark = pytest.mark.django_db


def word(schedule: PeriodicTask) -> tuple[str, str]:
    """The mark's word, and the reason."""
    found = status.overview(schedule, NOON, with_runs=True)
    return found.mark.rpartition("</svg>")[2].removesuffix("</span>"), found.reason


def test_it_is_enabled_or_disabled() -> None:
    assert word(hourly("on")) == ("enabled", "")
    assert word(hourly("off", enabled=False)) == ("disabled", "")


def test_a_pause_says_until_when_by_whom_and_why() -> None:
    schedule = hourly()
    pausing.pause(schedule, Terms(until=NOON + timedelta(hours=1), reason="move", who="ann"), now=NOON)
    assert word(schedule) == ("paused", "by ann until 2026-03-02 13:00:00 UTC (in 1 h): move")


def test_a_pause_of_the_whole_service_is_no_pause_of_its_own() -> None:
    schedule = hourly()
    pausing.pause(None, Terms(until=None), now=NOON)
    assert word(schedule) == ("paused", "whole service, until resumed")
    assert not status.overview(schedule, NOON, with_runs=True).is_paused_by_itself


def test_what_is_broken_says_why_even_while_it_is_paused() -> None:
    schedule = hourly()
    NextSlot.objects.update(broken="hour: 25", slot=None, due_at=None)
    pausing.pause(None, Terms(until=None), now=NOON)
    assert word(schedule) == ("broken", "hour: 25")


def test_what_has_no_slot_to_come_is_finished() -> None:
    schedule = hourly(expires=NOON - timedelta(days=10000))
    assert word(schedule) == ("finished", "There is no next run.")


def test_the_last_run_is_its_own_and_the_newest() -> None:
    schedule = hourly()
    for hours, owner in ((3, schedule), (1, schedule), (0, None)):
        queued_at = NOON - timedelta(hours=hours)
        Run.objects.create(job="probe", schedule=owner, trigger=Trigger.ADMIN, queued_at=queued_at)
    last = status.overview(schedule, NOON, with_runs=True).last_run
    assert last is not None
    assert last.queued_at == NOON - timedelta(hours=1)


HOUR = timedelta(hours=1)


def found(*, with_runs: bool = True) -> dict[str, ScheduleOverview]:
    schedules = list(PeriodicTask.objects.select_related("next_slot"))
    by_key = status.overviews(schedules, NOON, with_runs=with_runs)
    return {schedule.name: by_key[schedule.pk] for schedule in schedules}


def test_times_are_in_plain_language_with_the_zone_they_are_written_in() -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3", timezone=ZoneInfo("Europe/London"))
    PeriodicTask.objects.create(name="nightly", task="probes.probe", crontab=crontab)
    every(90, "paced")
    nightly, paced = found()["nightly"], found()["paced"]
    assert nightly.times == "every day at 03:00 Europe/London"
    assert (nightly.zone, paced.zone) == (ZoneInfo("Europe/London"), ZoneInfo("UTC"))


def test_one_that_cannot_be_read_hides_no_other() -> None:
    hourly("good")
    unreadable(hourly("bad"))
    both = found()
    assert both["bad"].times == status.UNREADABLE_TIMES
    assert both["good"].times.startswith("every hour")


def test_its_own_pauses_come_before_the_services() -> None:
    schedule = hourly()
    Pause.objects.create(since=NOON - HOUR, reason="all")
    Pause.objects.create(since=NOON - HOUR, reason="own", schedule=schedule)
    Pause.objects.create(since=NOON - HOUR, reason="over", until=NOON, schedule=schedule)
    assert [pause.reason for pause in found()["hourly"].pauses] == ["own", "all"]


def test_a_pause_that_ends_before_the_next_slot_is_not_in_its_way() -> None:
    schedule = hourly(handled_until=NOON + HOUR)
    pause = Pause.objects.create(schedule=schedule, since=NOON - HOUR, until=NOON + HOUR)
    assert found()["hourly"].pause_of_next_slot is None
    Pause.objects.update(until=NOON + 2 * HOUR)
    assert found()["hourly"].pause_of_next_slot == pause


def test_runs_are_read_only_where_they_are_shown() -> None:
    run_of(hourly())
    assert len(found()["hourly"].runs) == 1
    assert found(with_runs=False)["hourly"].runs == ()


def test_many_cost_no_more_queries_than_few(django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        run_of(hourly(f"number {number}"))
    schedules = list(PeriodicTask.objects.select_related("next_slot"))
    with django_assert_max_num_queries(7):
        status.overviews(schedules, NOON, with_runs=True)
