"""The status of a schedule, and why it starts no runs."""

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
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.admin.schedules.schedules import run_of, unreadable
from tests.unit.jobledger.schedules.builders import NOON, every, hourly

pytestmark = pytest.mark.django_db


def word(schedule: PeriodicTask) -> tuple[str, str]:
    """The label of the mark, and the reason."""
    found = status.overview(schedule, NOON, with_runs=True)
    return found.mark.rpartition("</svg>")[2].removesuffix("</span>"), found.reason


def test_a_schedule_is_enabled_or_disabled() -> None:
    assert word(hourly("on")) == ("enabled", "")
    assert word(hourly("off", enabled=False)) == ("disabled", "")


def test_a_pause_has_an_end_a_user_and_a_reason() -> None:
    schedule = hourly()
    pausing.pause(schedule, Terms(until=NOON + timedelta(hours=1), reason="move", username="ann"), now=NOON)
    assert word(schedule) == ("paused", "by ann until 2026-03-02 13:00:00 UTC (in 1 h): move")


def test_a_service_pause_is_not_a_pause_of_the_schedule() -> None:
    schedule = hourly()
    pausing.pause(None, Terms(until=None), now=NOON)
    assert word(schedule) == ("paused", "whole service, until resumed")
    assert not status.overview(schedule, NOON, with_runs=True).is_paused_by_itself


def test_a_service_pause_does_not_show_for_a_job_that_is_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    schedule = hourly()
    pausing.pause(None, Terms(until=None), now=NOON)
    assert word(schedule) == ("enabled", "")
    pausing.pause(schedule, Terms(until=None, reason="move"), now=NOON)
    assert word(schedule) == ("paused", "until resumed: move")


def test_a_broken_schedule_has_a_reason_even_while_paused() -> None:
    schedule = hourly()
    NextSlot.objects.update(broken="hour: 25", slot=None, due_at=None)
    pausing.pause(None, Terms(until=None), now=NOON)
    assert word(schedule) == ("broken", "hour: 25")


def test_a_schedule_without_a_next_slot_is_finished() -> None:
    schedule = hourly(expires=NOON - timedelta(days=10000))
    assert word(schedule) == ("finished", "There is no next run.")


def test_the_last_run_is_the_newest_of_the_schedule() -> None:
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


def test_timing_is_in_plain_language_with_its_time_zone() -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3", timezone=ZoneInfo("Europe/London"))
    PeriodicTask.objects.create(name="nightly", task="probes.probe", crontab=crontab)
    every(90, "paced")
    nightly, paced = found()["nightly"], found()["paced"]
    assert nightly.times == "every day at 03:00 Europe/London"
    assert (nightly.zone, paced.zone) == (ZoneInfo("Europe/London"), ZoneInfo("UTC"))


def test_a_schedule_with_invalid_timing_does_not_affect_others() -> None:
    hourly("good")
    unreadable(hourly("bad"))
    both = found()
    assert both["bad"].times == status.UNREADABLE_TIMES
    assert both["good"].times.startswith("every hour")


def test_pauses_of_the_schedule_precede_those_of_the_service() -> None:
    schedule = hourly()
    Pause.objects.create(since=NOON - HOUR, reason="all")
    Pause.objects.create(since=NOON - HOUR, reason="own", schedule=schedule)
    Pause.objects.create(since=NOON - HOUR, reason="over", until=NOON, schedule=schedule)
    assert [pause.reason for pause in found()["hourly"].pauses] == ["own", "all"]


def test_a_pause_that_ends_before_the_next_slot_does_not_affect_it() -> None:
    schedule = hourly(handled_until=NOON + HOUR)
    pause = Pause.objects.create(schedule=schedule, since=NOON - HOUR, until=NOON + HOUR)
    assert found()["hourly"].pause_of_next_slot is None
    Pause.objects.update(until=NOON + 2 * HOUR)
    assert found()["hourly"].pause_of_next_slot == pause


def test_runs_are_loaded_only_if_requested() -> None:
    run_of(hourly())
    assert len(found()["hourly"].runs) == 1
    assert found(with_runs=False)["hourly"].runs == ()


def test_the_number_of_queries_is_constant(django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        run_of(hourly(f"number {number}"))
    schedules = list(PeriodicTask.objects.select_related("next_slot"))
    with django_assert_max_num_queries(7):
        status.overviews(schedules, NOON, with_runs=True)
