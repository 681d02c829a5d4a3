"""When a schedule was due before an edit is read back from the timing that was stored with its next slot."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobledger.models import NextSlot, Run, SchedulePolicy
from jobledger.schedules import stored_schedules
from jobledger.schedules.due import former_slots
from jobledger.schedules.rules.slots import slots_between
from tests.unit.jobledger.schedules.builders import NOON, limited_by

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def crontab() -> dict[str, Any]:
    times = CrontabSchedule.objects.create(
        minute="*/20", hour="3-6", day_of_month="1-15", day_of_week="mon", timezone=ZoneInfo("Europe/London")
    )
    return {"crontab": times}


def interval() -> dict[str, Any]:
    return {"interval": IntervalSchedule.objects.create(every=90, period="minutes")}


def solar() -> dict[str, Any]:
    return {"solar": SolarSchedule.objects.create(event="sunset", latitude="51.5", longitude="-0.125")}


def clocked() -> dict[str, Any]:
    return {
        "clocked": ClockedSchedule.objects.create(clocked_time=NOON + timedelta(days=2, seconds=1.5)),
        "one_off": True,
    }


@pytest.mark.parametrize("times", [crontab, interval, solar, clocked])
@pytest.mark.parametrize(
    "values",
    [{}, {"start_time": NOON + DAY, "expires": NOON + 20 * DAY}, {"one_off": True}],
    ids=["always", "window", "once"],
)
@pytest.mark.parametrize("dialect", ["cron", "celery"])
def test_the_slots_of_any_schedule_are_read_back(
    times: Callable[[], dict[str, Any]], values: dict[str, Any], dialect: str
) -> None:
    with time_machine.travel(NOON, tick=False):
        schedule = PeriodicTask.objects.create(name="a", task="probes.probe", **{**times(), **values})
        SchedulePolicy.objects.update(dialect=dialect)
        limited_by(schedule, "2026-03-04 # a|b", moved=not isinstance(schedule.interval, IntervalSchedule))
        schedule.save()
    schedule = PeriodicTask.objects.get()
    row = NextSlot.objects.get()
    assert row.broken == ""
    former, stored = former_slots.former_of(row, schedule.policy), stored_schedules.times_of(schedule)
    assert former is not None
    assert former.window == stored.window
    found, expected = (
        list(slots_between(rule, NOON, NOON + 30 * DAY, window=stored.window, limit=200))
        for rule in (former.rule, stored.due_rule)
    )
    assert found == expected
    assert found


def test_of_a_timing_that_cannot_be_read_only_the_next_slot_is_known() -> None:
    with time_machine.travel(NOON, tick=False):
        schedule = PeriodicTask.objects.create(name="a", task="probes.probe", **interval())
    NextSlot.objects.update(timing="of another version")
    with time_machine.travel(NOON + 4 * HOUR, tick=False):
        schedule.save()
    recorded: list[datetime | None] = list(Run.objects.values_list("scheduled_for", flat=True))
    assert recorded == [NOON + 1.5 * HOUR]
