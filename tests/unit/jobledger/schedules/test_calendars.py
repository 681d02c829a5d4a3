"""Schedules with calendars: what is left out is recorded, and an edited calendar changes what is next."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

import pytest
import time_machine
from django.db import connection
from django.db.models import ProtectedError
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, PeriodicTask

from jobledger.calendars.use import CalendarUse
from jobledger.jobs.declaration import LeftOutSlots
from jobledger.models import Calendar, NextSlot, Pause, Run, ScheduleCalendar, SchedulePolicy
from jobledger.reason import MANY
from jobledger.runs import reasons
from jobledger.schedules import calendars
from jobledger.schedules.due import due_alone, ledger
from jobledger.schedules.reconciliation import Reconciliation
from tests.unit.jobledger.schedules.builders import NOON, every, hourly, limited_by, wound_back

pytestmark = pytest.mark.django_db

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TODAY = "2026-03-02"
"""A Monday."""


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def synced(schedule: PeriodicTask) -> NextSlot:
    ledger.sync([schedule.pk], NOON)
    return NextSlot.objects.get(pk=schedule.pk)


def rows() -> list[tuple[datetime | None, str, str]]:
    return list(Run.objects.order_by("scheduled_for").values_list("scheduled_for", "status", "reason"))


def test_a_left_out_slot_is_recorded_as_skipped_at_its_time_with_the_calendar() -> None:
    schedule = limited_by(hourly(), f"{TODAY} 12:30 to {TODAY} 13:30 # stocktaking")
    row = synced(schedule)
    assert (row.slot, row.due_at) == (NOON + 2 * HOUR, NOON + HOUR)
    assert ledger.record_due(NOON + HOUR).queued == []
    run = Run.objects.get()
    assert (run.scheduled_for, run.status, run.reason) == (NOON + HOUR, "skipped", "left_out")
    assert run.reason_details == {"calendar": "closed hourly", "name": "stocktaking"}
    assert str(reasons.sentence(run, NOON)) == "Skipped: calendar closed hourly leaves it out (stocktaking)."
    row.refresh_from_db()
    assert (row.due_at, row.handled_until) == (NOON + 2 * HOUR, NOON + HOUR)


def test_slots_in_a_row_have_one_record_at_the_last_of_them() -> None:
    schedule = limited_by(every(1), f"{TODAY} 12:30 to {TODAY} 18:00")
    end = NOON + 6 * HOUR
    row = synced(schedule)
    assert (row.slot, row.due_at) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=1))
    wound_back(schedule, NOON + HOUR)
    ledger.record_due(end)
    skipped = Run.objects.get(status="skipped")
    assert (skipped.scheduled_for, skipped.coalesced) == (end - timedelta(seconds=1), MANY)
    assert Run.objects.filter(status="queued").get().scheduled_for == end


def test_after_months_of_downtime_there_is_a_bounded_number_of_records() -> None:
    schedule = limited_by(hourly(), "00:30 to 12:30")
    synced(schedule)
    wound_back(schedule, NOON - 300 * DAY)
    ledger.record_due(NOON)
    left_out = Run.objects.filter(reason="left_out").order_by("scheduled_for")
    first = left_out[0]
    assert (left_out.count(), first.coalesced) == (100, MANY)


def test_an_edit_on_a_day_that_is_left_out_loses_no_slot_of_it() -> None:
    schedule = limited_by(hourly(), TODAY)
    synced(schedule)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + 3.25 * HOUR)
    ledger.record_due(NOON + 11.5 * HOUR)
    records = Run.objects.order_by("scheduled_for").values_list("scheduled_for", "reason", "coalesced")
    # Those until 15:00, and those from 15:30 on.
    assert list(records) == [(NOON + 3 * HOUR, "left_out", 2), (NOON + 11.5 * HOUR, "left_out", 8)]


def test_a_left_out_slot_does_not_supersede_one_that_a_pause_holds() -> None:
    schedule = limited_by(hourly(), f"{TODAY} 13:30 to {TODAY} 15:30")
    Pause.objects.create(schedule=schedule, since=NOON, until=NOON + 3.5 * HOUR, on_resume="once")
    synced(schedule)
    for hours in (1, 2, 3):
        ledger.record_due(NOON + hours * HOUR)
    row = NextSlot.objects.get()
    assert (row.slot, row.due_at, rows()) == (NOON + HOUR, NOON + 3.5 * HOUR, [])
    ledger.record_due(NOON + 3.5 * HOUR)
    assert rows() == [(NOON + HOUR, "queued", "after_pause"), (NOON + 3 * HOUR, "skipped", "left_out")]


def test_a_single_time_that_is_left_out_is_recorded_and_the_schedule_is_finished() -> None:
    clocked = ClockedSchedule.objects.create(clocked_time=NOON + HOUR)
    schedule = PeriodicTask.objects.create(name="once", task="probes.probe", clocked=clocked, one_off=True)
    row = synced(limited_by(schedule, TODAY))
    assert (row.slot, row.due_at) == (None, NOON + HOUR)
    ledger.record_due(NOON + HOUR)
    schedule.refresh_from_db()
    assert (rows(), schedule.enabled) == ([(NOON + HOUR, "skipped", "left_out")], False)


def test_outside_the_calendars_to_which_it_is_limited_nothing_is_recorded() -> None:
    schedule = limited_by(hourly(), only_on=f"{TODAY} 15:00 to {TODAY} 16:00")
    row = synced(schedule)
    assert (row.slot, row.due_at) == (NOON + 3 * HOUR, NOON + 3 * HOUR)
    ledger.record_due(NOON + 3 * HOUR)
    assert rows() == [(NOON + 3 * HOUR, "queued", "")]


def test_a_slot_that_is_moved_to_one_of_another_day_is_covered_by_that() -> None:
    schedule = limited_by(hourly(), f"{TODAY} 12:30 to {TODAY} 13:30", moved=True)
    synced(schedule)
    ledger.record_due(NOON + HOUR)
    run = Run.objects.get()
    assert (run.scheduled_for, run.reason) == (NOON + HOUR, "left_out")
    assert run.reason_details["covered_at"] == (NOON + HOUR + DAY).isoformat()


def once_a_month() -> PeriodicTask:
    schedule = hourly()
    schedule.crontab.hour, schedule.crontab.day_of_month = "13", "2"
    schedule.crontab.save()
    return schedule


def test_a_slot_that_is_moved_to_a_day_without_one_of_its_own_keeps_its_slot() -> None:
    schedule = limited_by(once_a_month(), f"{TODAY} # stocktaking", moved=True)
    moved_to = NOON + HOUR + DAY
    row = synced(schedule)
    assert (row.slot, row.due_at) == (moved_to, moved_to)
    SchedulePolicy.objects.update(starting_deadline=HOUR)
    [run] = ledger.record_due(moved_to).queued
    run.refresh_from_db()
    assert (run.scheduled_for, run.moved_to, run.start_before) == (NOON + HOUR, moved_to, moved_to + HOUR)
    why = {"calendar": "closed hourly", "name": "stocktaking", "moved_to": moved_to.isoformat()}
    assert (run.reason, run.reason_details) == ("moved", why)
    assert "moved to 2026-03-03 13:00:00 UTC, since calendar closed hourly (stocktaking)" in str(
        reasons.sentence(run, moved_to)
    )
    assert ledger.record_due(moved_to).queued == []
    run.status, run.started_at, run.finished_at, run.reason = "succeeded", moved_to, moved_to + HOUR, ""
    assert str(reasons.sentence(run, moved_to)) == (
        "Succeeded in 1 h, moved to 2026-03-03 13:00:00 UTC by its calendars."
    )


def test_recording_a_moved_slot_again_gives_the_same_run() -> None:
    schedule = limited_by(once_a_month(), TODAY, moved=True)
    synced(schedule)
    for _ in range(2):
        ledger.record_due(NOON + HOUR + DAY)
        wound_back(schedule, NOON)
    assert Run.objects.count() == 1


def test_a_slot_that_was_skipped_before_it_could_be_moved_does_not_take_the_run_away() -> None:
    schedule = limited_by(once_a_month(), TODAY)
    synced(schedule)
    ledger.record_due(NOON + HOUR)
    SchedulePolicy.objects.update(
        left_out="move", calendars=calendars.copy_of(Calendar.objects.all(), (), "move")
    )
    ledger.sync([schedule.pk], NOON + 2 * HOUR)
    moved_to = NOON + HOUR + DAY
    ledger.record_due(moved_to)
    assert rows() == [(NOON + HOUR, "skipped", "left_out"), (moved_to, "queued", "moved")]


def test_a_schedule_with_calendars_that_is_due_alone_takes_as_few_statements_as_any() -> None:
    schedule = limited_by(hourly(), "sat, sun")
    synced(schedule)
    due_alone.record(NOON)
    with CaptureQueriesContext(connection) as queries:
        recorded = due_alone.record(NOON + HOUR)
    assert recorded is not None
    assert [run.scheduled_for for run in recorded.queued] == [NOON + HOUR]
    assert not any("calendar" in query["sql"] and "policy" not in query["sql"] for query in queries)


@pytest.mark.parametrize("has_signal", [True, False])
def test_an_edited_calendar_changes_what_is_next(has_signal: bool) -> None:
    schedule, other = limited_by(hourly(), "sun"), hourly("other")
    synced(schedule)
    assert NextSlot.objects.get(pk=schedule.pk).slot == NOON + HOUR
    calendar = Calendar.objects.get()
    calendar.entries = TODAY
    if has_signal:
        calendar.save()
    else:
        Calendar.objects.update(entries=TODAY)
        assert Reconciliation().step()
    assert NextSlot.objects.get(pk=schedule.pk).slot == NOON + 12 * HOUR
    assert NextSlot.objects.get(pk=other.pk).slot == NOON + HOUR


def test_links_that_were_written_elsewhere_are_found() -> None:
    schedule = hourly()
    calendar = Calendar.objects.create(name="closed", entries=TODAY)
    link = ScheduleCalendar.objects.create(schedule=schedule, calendar=calendar, kind="not_on")
    Reconciliation().step()
    assert NextSlot.objects.get().slot == NOON + 12 * HOUR
    link.delete()
    Reconciliation().step()
    assert NextSlot.objects.get().slot == NOON + HOUR
    assert SchedulePolicy.objects.get().calendars == ""


def test_a_saved_policy_takes_its_choice_into_the_copy() -> None:
    limited_by(once_a_month(), TODAY)
    policy = SchedulePolicy.objects.get()
    policy.left_out = LeftOutSlots.MOVE
    policy.save()
    assert NextSlot.objects.get().slot == NOON + HOUR + DAY


def test_a_calendar_that_cannot_be_evaluated_breaks_the_schedules_that_use_it_only() -> None:
    schedule, other = limited_by(hourly(), "sun"), hourly("other")
    Calendar.objects.update(entries="holidays ZZ")
    Reconciliation().step()
    assert "there is no country 'ZZ'" in NextSlot.objects.get(pk=schedule.pk).broken
    assert NextSlot.objects.get(pk=other.pk).slot == NOON + HOUR
    Calendar.objects.update(entries="sun")
    Reconciliation().step()
    assert NextSlot.objects.get(pk=schedule.pk).broken == ""


def test_a_calendar_that_is_used_cannot_be_deleted() -> None:
    schedule = limited_by(hourly(), "sun")
    with pytest.raises(ProtectedError):
        Calendar.objects.get().delete()
    schedule.delete()
    Calendar.objects.get().delete()


def test_calendars_are_assigned_anew() -> None:
    schedule = hourly()
    one, two, three = (Calendar.objects.create(name=name, entries="sun") for name in "abc")
    calendars.assign(schedule.pk, [one, two], [])
    calendars.assign(schedule.pk, [two], [one, three])
    found = ScheduleCalendar.objects.values_list("calendar", "kind")
    assert set(found) == {(two.pk, "not_on"), (one.pk, "only_on"), (three.pk, "only_on")}
    calendars.refresh(SchedulePolicy.objects.all())
    use = CalendarUse.read(SchedulePolicy.objects.get().calendars)
    assert ([each.name for each in use.not_on], [each.name for each in use.only_on]) == (["b"], ["a", "c"])


# --- Edits while a moved run is pending


def pending(entries: str = TODAY) -> PeriodicTask:
    """A schedule whose only slot of the month has passed, and is moved to the next day."""
    schedule = limited_by(once_a_month(), entries, moved=True)
    assert synced(schedule).slot == NOON + HOUR + DAY
    return schedule


def with_entries(entries: str) -> None:
    calendar = Calendar.objects.get()
    calendar.entries = entries
    calendar.save()


def as_policy(**values: str) -> None:
    policy = SchedulePolicy.objects.get()
    for name, value in values.items():
        setattr(policy, name, value)
    policy.save()


def at_hour(hour: str) -> None:
    crontab = CrontabSchedule.objects.get()
    crontab.hour = hour
    crontab.save()


EDITS = {
    "the day is removed from its calendar": lambda: with_entries("2026-03-20"),
    "it skips what is left out": lambda: as_policy(left_out="skip"),
    "it is due at another time": lambda: at_hour("20"),
    "it expires before": lambda: PeriodicTask.objects.update(expires=NOON + 5 * HOUR),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_a_slot_that_is_moved_no_longer_after_an_edit_is_recorded_as_skipped(
    edit: Callable[[], None], clock: time_machine.Traveller
) -> None:
    schedule = pending()
    moved_to = NOON + HOUR + DAY
    clock.move_to(NOON + 4 * HOUR)
    edit()
    Reconciliation().step()
    run = Run.objects.get()
    assert (run.scheduled_for, run.moved_to, run.schedule) == (NOON + HOUR, moved_to, schedule)
    assert (run.status, run.reason) == ("skipped", "schedule_edited")
    sentence = "Skipped: the schedule was edited before its run of 2026-03-03 13:00:00 UTC was recorded."
    assert str(reasons.sentence(run, NOON)) == sentence
    ledger.record_due(moved_to + HOUR)
    assert Run.objects.exclude(scheduled_for=NOON + 8 * HOUR).count() == 1


@pytest.mark.parametrize(
    ("entries", "days"), [(f"{TODAY}\n2026-03-20", 1), (f"{TODAY} to 2026-03-04", 3), ("mon", 1)]
)
def test_a_slot_that_is_moved_after_an_edit_as_well_runs_once(
    entries: str, days: int, clock: time_machine.Traveller
) -> None:
    pending()
    clock.move_to(NOON + 4 * HOUR)
    with_entries(entries)
    assert rows() == []
    for number in range(1, 6):
        ledger.record_due(NOON + HOUR + number * DAY)
    run = Run.objects.get()
    assert (run.scheduled_for, run.moved_to) == (NOON + HOUR, NOON + HOUR + days * DAY)
    assert run.status == "queued"


def test_a_slot_whose_new_time_would_have_passed_at_an_edit_is_recorded(
    clock: time_machine.Traveller,
) -> None:
    synced(limited_by(once_a_month(), f"{TODAY} to 2026-03-04", moved=True))
    clock.move_to(NOON + 2 * DAY)
    with_entries(TODAY)
    assert rows() == [(NOON + HOUR, "skipped", "schedule_edited")]


def test_each_of_several_slots_that_are_moved_has_its_record_after_an_edit(
    clock: time_machine.Traveller,
) -> None:
    schedule = once_a_month()
    schedule.crontab.hour = "3,13,20"
    schedule.crontab.save()
    with time_machine.travel(NOON - 12 * HOUR, tick=False):
        ledger.sync([limited_by(schedule, TODAY, moved=True).pk], NOON - 12 * HOUR)
    clock.move_to(NOON + 4 * HOUR)
    with_entries("2026-03-20")
    skipped = [(NOON + hours * HOUR, "skipped", "schedule_edited") for hours in (-9, 1)]
    assert rows() == skipped
    ledger.record_due(NOON + 8 * HOUR)
    assert rows() == [*skipped, (NOON + 8 * HOUR, "queued", "")]


def test_a_moved_run_that_was_due_when_the_calendar_was_edited_keeps_its_slot(
    clock: time_machine.Traveller,
) -> None:
    pending()
    moved_to = NOON + HOUR + DAY
    clock.move_to(moved_to + timedelta(seconds=1))
    with_entries("2026-03-20")
    run = Run.objects.get()
    assert (run.scheduled_for, run.moved_to, run.status) == (NOON + HOUR, moved_to, "queued")


def test_what_was_left_out_and_not_recorded_before_an_edit_is_recorded_then(
    clock: time_machine.Traveller,
) -> None:
    synced(limited_by(hourly(), f"{TODAY} 12:30 to {TODAY} 14:30 # stocktaking"))
    clock.move_to(NOON + 4 * HOUR)
    with_entries("2026-03-20")
    assert rows() == [
        (NOON + 2 * HOUR, "skipped", "left_out"),
        (NOON + 3 * HOUR, "missed", "schedule_edited"),
        (NOON + 4 * HOUR, "queued", "schedule_edited"),
    ]


def test_a_slot_on_record_gets_no_second_record_when_it_is_moved_no_longer(
    clock: time_machine.Traveller,
) -> None:
    synced(limited_by(once_a_month(), "2026-03-20", moved=True))
    ledger.record_due(NOON + HOUR)
    clock.move_to(NOON + 4 * HOUR)
    with_entries(TODAY)
    with_entries("2026-03-20")
    assert rows() == [(NOON + HOUR, "queued", "")]


def test_what_ran_at_its_own_time_does_not_run_again_because_it_is_moved_now(
    clock: time_machine.Traveller,
) -> None:
    synced(limited_by(once_a_month(), "2026-03-20", moved=True))
    ledger.record_due(NOON + HOUR)
    clock.move_to(NOON + 4 * HOUR)
    with_entries(f"{TODAY} # stocktaking")
    moved_to = NOON + HOUR + DAY
    assert ledger.record_due(moved_to).queued == []
    run = Run.objects.get(scheduled_for=moved_to)
    assert str(reasons.sentence(run, NOON)) == (
        "Skipped: calendar closed hourly leaves it out (stocktaking); it is covered by the run due at "
        "2026-03-02 13:00:00 UTC."
    )
    assert rows() == [(NOON + HOUR, "queued", ""), (moved_to, "skipped", "left_out")]


def test_a_moved_run_that_is_pending_when_its_schedule_is_disabled_is_recorded(
    clock: time_machine.Traveller,
) -> None:
    schedule = pending()
    clock.move_to(NOON + 4 * HOUR)
    schedule.enabled = False
    schedule.save()
    assert rows() == [(NOON + HOUR, "skipped", "schedule_edited")]
