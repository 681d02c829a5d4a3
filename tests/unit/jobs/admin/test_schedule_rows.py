"""What the list says of a page of schedules, read at once."""

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from tasks_app.jobs.admin import schedule_rows
from tasks_app.jobs.admin.schedule_rows import Row
from tasks_app.jobs.models import Pause
from tests.unit.jobs.admin.schedules import run_of, unreadable
from tests.unit.jobs.scheduling.builders import NOON, every, hourly

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


def rows(*, with_runs: bool = True) -> dict[str, Row]:
    schedules = list(PeriodicTask.objects.select_related("next_slot"))
    found = schedule_rows.of(schedules, NOON, with_runs=with_runs)
    return {schedule.name: found[schedule.pk] for schedule in schedules}


def test_times_are_in_plain_language_with_the_zone_they_are_written_in() -> None:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3", timezone=ZoneInfo("Europe/London"))
    PeriodicTask.objects.create(name="nightly", task="probes.probe", crontab=crontab)
    every(90, "paced")
    nightly, paced = rows()["nightly"], rows()["paced"]
    assert nightly.times == "every day at 03:00 Europe/London"
    assert (nightly.zone, paced.zone) == (ZoneInfo("Europe/London"), ZoneInfo("UTC"))


def test_one_that_cannot_be_read_hides_no_other() -> None:
    hourly("good")
    unreadable(hourly("bad"))
    found = rows()
    assert found["bad"].times == schedule_rows.UNREADABLE_TIMES
    assert found["good"].times.startswith("every hour")


def test_its_own_pauses_come_before_the_services() -> None:
    schedule = hourly()
    Pause.objects.create(since=NOON - HOUR, reason="all")
    Pause.objects.create(since=NOON - HOUR, reason="own", schedule=schedule)
    Pause.objects.create(since=NOON - HOUR, reason="over", until=NOON, schedule=schedule)
    assert [pause.reason for pause in rows()["hourly"].pauses] == ["own", "all"]


def test_a_pause_that_ends_before_the_next_slot_is_not_in_its_way() -> None:
    schedule = hourly(handled_until=NOON + HOUR)
    pause = Pause.objects.create(schedule=schedule, since=NOON - HOUR, until=NOON + HOUR)
    assert rows()["hourly"].pause_of_next_slot is None
    Pause.objects.update(until=NOON + 2 * HOUR)
    assert rows()["hourly"].pause_of_next_slot == pause


def test_runs_are_read_only_where_they_are_shown() -> None:
    run_of(hourly())
    assert len(rows()["hourly"].runs) == 1
    assert rows(with_runs=False)["hourly"].runs == ()


def test_many_cost_no_more_queries_than_few(django_assert_max_num_queries: Any) -> None:
    for number in range(20):
        run_of(hourly(f"number {number}"))
    schedules = list(PeriodicTask.objects.select_related("next_slot"))
    with django_assert_max_num_queries(7):
        schedule_rows.of(schedules, NOON, with_runs=True)
