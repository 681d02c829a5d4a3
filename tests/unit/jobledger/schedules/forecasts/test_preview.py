"""A preview says what a save would do, and saving does it."""

from dataclasses import replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.models import NextSlot, Run, SchedulePolicy, Status
from jobledger.schedules.forecasts.preview import Preview, preview
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.rules.interval import Clocked
from jobledger.schedules.rules.slots import Window
from jobledger.schedules.stored_schedules import (
    StoredSchedule,
    Times,
    stored_schedule,
)
from tests.unit.jobledger.schedules.builders import NOON, hourly
from tests.unit.jobledger.schedules.times import cron, utc

HOURLY = Times(rule=cron("0 * * * *"), policy=Policy())
HALF_PAST = Times(rule=cron("30 * * * *"), policy=Policy())
FOLLOWED = StoredSchedule(times=HOURLY, schedule_id=1, handled_until=NOON, slot=NOON + timedelta(hours=1))


def at(now: datetime, new: Times, old: StoredSchedule | None = None, *pauses: PausePeriod) -> Preview:
    return preview(new, now=now, old=old, pauses=pauses)


def test_the_preview_has_the_next_ten_slots_before_and_after() -> None:
    found = at(NOON, HALF_PAST, FOLLOWED)
    assert found.old_slots == tuple(NOON + timedelta(hours=hours) for hours in range(1, 11))
    assert found.new_slots == tuple(slot - timedelta(minutes=30) for slot in found.old_slots)
    assert not found.is_same


def test_a_new_schedule_has_no_old_slots() -> None:
    assert at(NOON, HOURLY).old_slots == ()


def test_the_preview_has_fewer_slots_if_there_are_fewer() -> None:
    assert at(NOON, replace(HOURLY, window=Window(one_off=True))).new_slots == (NOON + timedelta(hours=1),)
    assert at(NOON, Times(rule=Clocked(at=NOON), policy=Policy())).new_slots == ()


def test_saving_new_times_starts_nothing_and_has_a_next_slot() -> None:
    found = at(NOON + timedelta(minutes=45), HALF_PAST, FOLLOWED)
    assert (found.started, found.next_slot) == ((), utc("2026-03-02T13:30"))
    assert found.due_at == found.next_slot


def test_enabling_counts_from_now() -> None:
    off = StoredSchedule(times=replace(HOURLY, enabled=False), schedule_id=1)
    found = at(NOON + timedelta(days=3), HOURLY, off)
    assert (found.started, found.next_slot) == ((), NOON + timedelta(days=3, hours=1))


def test_a_disabled_schedule_has_no_next_slot() -> None:
    found = at(NOON, replace(HOURLY, enabled=False), FOLLOWED)
    assert (found.next_slot, found.due_at) == (None, None)
    assert len(found.new_slots) == 10


def test_a_slot_that_waits_for_its_jitter_starts_when_the_jitter_is_removed() -> None:
    jittered = replace(HOURLY, policy=Policy(jitter=timedelta(minutes=30)))
    old = replace(FOLLOWED, times=jittered, slot=NOON + timedelta(hours=1))
    assert at(NOON + timedelta(hours=1, seconds=10), HOURLY, old).started == (NOON + timedelta(hours=1),)


def test_a_slot_of_the_old_timing_that_had_passed_is_included() -> None:
    now = NOON + timedelta(hours=1, seconds=2)
    old = replace(FOLLOWED, due_at=FOLLOWED.slot)
    assert at(now, HALF_PAST, old).started == (NOON + timedelta(hours=1),)


def test_the_pause_that_holds_the_next_slot_is_included() -> None:
    pause = PausePeriod(since=NOON, reason="migration", user="anna")
    assert at(NOON, HOURLY, None, pause).held_by == pause


def test_the_delay_of_an_existing_schedule_is_known() -> None:
    jittered = replace(HOURLY, policy=Policy(jitter=timedelta(minutes=30)))
    assert at(NOON, jittered).delay is None
    delay = at(NOON, jittered, FOLLOWED).delay
    assert delay is not None
    assert timedelta(0) < delay < timedelta(minutes=30)


def test_the_minutes_of_its_starts_are_whole_and_unique() -> None:
    every_20_seconds = Times(rule=Clocked(at=NOON + timedelta(seconds=90)), policy=Policy())
    assert at(NOON, every_20_seconds).minutes == (NOON + timedelta(minutes=1),)


def test_clock_changes_are_those_of_the_rules_zone() -> None:
    london = replace(HOURLY, rule=cron("30 1 * * *", "Europe/London"))
    assert [each.change.zone for each in at(NOON, london).clock_changes] == [ZoneInfo("Europe/London")] * 2
    once = replace(london, window=Window(one_off=True))
    assert at(NOON, once).clock_changes == ()
    assert at(NOON, Times(rule=Clocked(at=NOON), policy=Policy())).clock_changes == ()


@pytest.mark.django_db
@pytest.mark.parametrize("minutes", [45, 60, 59, 61, 180])
@pytest.mark.parametrize("minute", ["30", "0", "59"])
@pytest.mark.parametrize("jitter", [timedelta(0), timedelta(minutes=40)])
def test_saving_does_what_the_preview_said(minutes: int, minute: str, jitter: timedelta) -> None:
    now = NOON + timedelta(minutes=minutes)
    with time_machine.travel(NOON, tick=False):
        schedule = hourly()
    with time_machine.travel(now, tick=False):
        new = Times(rule=cron(f"{minute} * * * *"), policy=Policy(jitter=jitter))
        expected = preview(new, now=now, old=stored_schedule(PeriodicTask.objects.get(pk=schedule.pk)))
        # Like the form, so that the ledger sees the new times together with the new policy.
        SchedulePolicy.objects.filter(pk=schedule.pk).update(jitter=jitter)
        schedule.crontab = CrontabSchedule.objects.create(minute=minute, timezone=ZoneInfo("UTC"))
        schedule.save()
    row = NextSlot.objects.get()
    queued = Run.objects.filter(status=Status.QUEUED).order_by("scheduled_for")
    assert tuple(run.scheduled_for for run in queued) == expected.started
    assert (row.slot, row.due_at) == (expected.next_slot, expected.due_at)
