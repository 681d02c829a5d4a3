"""Which past slots a backfill runs, judged by what became of each of them."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, PeriodicTask
from pytest_django import Settings

from jobledger.models import AuditEntry, NextSlot, Reason, Run, SchedulePolicy, Status, Trigger, Why
from jobledger.runs import dispatch
from jobledger.schedules.backfills import past_slots
from jobledger.schedules.backfills.past_slots import BackfillError, Decision, PastSlots
from jobledger.schedules.due import ledger
from jobledger.schedules.due.slot_runs import run_id
from tests.unit.builders import override, utc
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
NINE, TEN, ELEVEN = (NOON - hours * HOUR for hours in (3, 2, 1))


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOON + timedelta(minutes=1), tick=False):
        yield


@pytest.fixture
def schedule() -> PeriodicTask:
    return hourly(handled_until=NOON)


def found(schedule: PeriodicTask, since: datetime = NINE, until: datetime = NOON, **values: Any) -> PastSlots:
    return past_slots.past_slots(schedule, since, until, now=NOON + timedelta(minutes=1), **values)


def decisions(schedule: PeriodicTask, **values: Any) -> dict[int, str]:
    return {each.slot.hour: each.decision.value for each in found(schedule, **values).slots}


def slot_run(schedule: PeriodicTask, slot: datetime, status: Status, **values: Any) -> Run:
    row = {"job": "probe", "trigger": Trigger.SCHEDULE, "schedule_name": schedule.name, "queued_at": slot}
    return Run.objects.create(
        **{
            **row,
            "pk": run_id(schedule.pk, slot),
            "schedule": schedule,
            "scheduled_for": slot,
            "status": status,
            **values,
        }
    )


def test_slots_that_never_ran_and_those_that_did_not_succeed_run(schedule: PeriodicTask) -> None:
    slot_run(schedule, TEN, Status.FAILED)
    slot_run(schedule, ELEVEN, Status.MISSED)
    assert found(schedule).to_run == [NINE, TEN, ELEVEN]


def test_what_calendars_leave_out_does_not_run_either(schedule: PeriodicTask) -> None:
    limited_by(schedule, "2026-03-02 09:30 to 10:30")
    assert found(PeriodicTask.objects.get()).to_run == [NINE, ELEVEN]


def test_a_slot_whose_own_run_succeeded_is_left_out_on_whatever_attempt(schedule: PeriodicTask) -> None:
    run = slot_run(schedule, TEN, Status.SUCCEEDED, attempt=3)
    assert decisions(schedule) == {9: "run", 10: "succeeded", 11: "run"}
    assert found(schedule).slots[1].run_id == run.pk


def test_so_is_one_that_a_backfill_has_run(schedule: PeriodicTask) -> None:
    slot_run(schedule, TEN, Status.FAILED)
    Run.objects.create(
        job="probe", schedule=schedule, scheduled_for=TEN, trigger=Trigger.BACKFILL, status=Status.SUCCEEDED
    )
    assert decisions(schedule) == {9: "run", 10: "succeeded", 11: "run"}


def test_so_is_one_that_a_user_has_run_again_successfully(schedule: PeriodicTask) -> None:
    failed = slot_run(schedule, TEN, Status.FAILED, options={"say": "x"})
    again = dispatch.run_again(failed, trigger=Trigger.CLI, username="ann")
    assert decisions(schedule)[10] == "live"
    Run.objects.filter(pk=again.pk).update(status=Status.SUCCEEDED)
    assert decisions(schedule)[10] == "succeeded"


def test_a_repeat_of_a_renamed_schedules_run_counts_as_well(schedule: PeriodicTask) -> None:
    failed = slot_run(schedule, TEN, Status.FAILED)
    again = dispatch.run_again(failed, trigger=Trigger.CLI, username="ann")
    Run.objects.filter(pk=again.pk).update(status=Status.SUCCEEDED)
    PeriodicTask.objects.filter(pk=schedule.pk).update(name="other")
    assert decisions(PeriodicTask.objects.get())[10] == "succeeded"


def test_a_repeat_with_other_options_does_not_count(schedule: PeriodicTask) -> None:
    slot_run(schedule, TEN, Status.FAILED)
    Run.objects.create(
        job="probe",
        options={"dry_run": True},
        schedule_name=schedule.name,
        scheduled_for=TEN,
        trigger=Trigger.ADMIN,
        status=Status.SUCCEEDED,
    )
    assert decisions(schedule)[10] == "run"


def reasons(schedule: PeriodicTask) -> dict[int, str]:
    return {each.slot.hour: past_slots.why(each) for each in found(schedule).slots}


def test_the_success_of_a_job_that_the_schedule_started_before_it_was_edited_does_not_count(
    schedule: PeriodicTask,
) -> None:
    run = slot_run(schedule, NINE, Status.SUCCEEDED, job="allowing")
    slot_run(schedule, TEN, Status.QUEUED, job="allowing")
    assert decisions(schedule) == {9: "run", 10: "run", 11: "run"}
    assert reasons(schedule)[9] == f"succeeded (run {run.short_id} of another job)"
    assert found(schedule).slots[0].difference == "job"


def test_a_repeat_with_the_options_of_another_jobs_run_does_not_count(schedule: PeriodicTask) -> None:
    slot_run(schedule, TEN, Status.FAILED, job="allowing", options={"dry_run": True})
    Run.objects.create(
        job="probe",
        options={"dry_run": True},
        schedule_name=schedule.name,
        scheduled_for=TEN,
        trigger=Trigger.ADMIN,
        status=Status.SUCCEEDED,
    )
    assert decisions(schedule)[10] == "run"


def test_a_success_with_the_options_before_an_edit_counts_and_is_marked(schedule: PeriodicTask) -> None:
    old = slot_run(schedule, NINE, Status.SUCCEEDED, options={"say": "x"})
    slot_run(schedule, TEN, Status.SUCCEEDED, options={"say": "x"})
    same = Run.objects.create(
        job="probe", schedule=schedule, scheduled_for=TEN, trigger=Trigger.BACKFILL, status=Status.SUCCEEDED
    )
    assert decisions(schedule) == {9: "succeeded", 10: "succeeded", 11: "run"}
    assert reasons(schedule)[9] == f"run {old.short_id} has succeeded, with other options"
    assert reasons(schedule)[10] == f"run {same.short_id} has succeeded"


def test_a_run_of_another_job_stands_for_no_slot(schedule: PeriodicTask) -> None:
    caught_up_on(schedule, Status.SUCCEEDED)
    Run.objects.update(job="allowing")
    assert decisions(schedule) == {9: "run", 10: "run", 11: "run"}


def test_a_run_with_other_options_that_stands_for_a_slot_is_marked(schedule: PeriodicTask) -> None:
    caught_up_on(schedule, Status.SUCCEEDED)
    Run.objects.update(options={"say": "x"})
    last = run_id(schedule.pk, ELEVEN)
    assert reasons(schedule)[9] == f"run {str(last)[:8]} stands for it, with other options"


def test_a_job_called_by_another_one_for_that_time_does_not_count(schedule: PeriodicTask) -> None:
    Run.objects.create(job="probe", scheduled_for=TEN, trigger=Trigger.JOB, status=Status.SUCCEEDED)
    assert decisions(schedule)[10] == "run"


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_a_slot_whose_run_is_live_is_left_out(schedule: PeriodicTask, status: Status) -> None:
    slot_run(schedule, TEN, status)
    assert decisions(schedule)[10] == "live"


def caught_up_on(schedule: PeriodicTask, status: Status) -> None:
    """Beat was down from nine to eleven, and one run stands for all of its slots."""
    NextSlot.objects.update(handled_until=NINE - HOUR, due_at=NINE)
    with time_machine.travel(ELEVEN + 10 * timedelta(minutes=1), tick=False):
        ledger.record_due(ELEVEN + 10 * timedelta(minutes=1))
    Run.objects.filter(scheduled_for=ELEVEN).update(status=status)


def test_slots_for_which_a_successful_run_stands_are_left_out(schedule: PeriodicTask) -> None:
    caught_up_on(schedule, Status.SUCCEEDED)
    assert decisions(schedule) == {9: "covered", 10: "covered", 11: "succeeded"}
    assert {each.run_id for each in found(schedule).slots} == {run_id(schedule.pk, ELEVEN)}


def test_they_are_also_if_that_run_is_outside_the_range(schedule: PeriodicTask) -> None:
    caught_up_on(schedule, Status.SUCCEEDED)
    assert decisions(schedule, until=TEN + HOUR) == {9: "covered", 10: "covered"}


def test_they_run_if_the_job_works_on_the_time_of_each_slot(schedule: PeriodicTask) -> None:
    caught_up_on(schedule, Status.SUCCEEDED)
    assert decisions(schedule, includes_covered=True) == {9: "run", 10: "run", 11: "succeeded"}


def test_they_run_if_that_run_did_not_succeed(schedule: PeriodicTask) -> None:
    caught_up_on(schedule, Status.FAILED)
    assert found(schedule).to_run == [NINE, TEN, ELEVEN]


def superseded(schedule: PeriodicTask, slot: datetime, by: UUID) -> None:
    slot_run(schedule, slot, Status.MISSED, **Why.of(Reason.SUPERSEDED, run=by).columns)


def test_a_run_stands_for_all_that_were_superseded_one_after_the_other(schedule: PeriodicTask) -> None:
    for slot in NINE, TEN, ELEVEN:
        superseded(schedule, slot, by=run_id(schedule.pk, slot + HOUR))
    newest = slot_run(schedule, NOON, Status.SUCCEEDED)
    assert decisions(schedule) == {9: "covered", 10: "covered", 11: "covered"}
    # Beyond the range, only the next slot is read.
    assert decisions(schedule, until=TEN) == {9: "covered"}
    assert {each.run_id for each in found(schedule).slots} == {newest.pk}
    Run.objects.filter(pk=newest.pk).update(status=Status.FAILED)
    assert decisions(schedule) == {9: "run", 10: "run", 11: "run"}


def test_a_chain_whose_end_is_gone_or_that_has_none_covers_nothing(schedule: PeriodicTask) -> None:
    superseded(schedule, NINE, by=run_id(schedule.pk, TEN))
    superseded(schedule, TEN, by=run_id(schedule.pk, ELEVEN))
    assert decisions(schedule) == {9: "run", 10: "run", 11: "run"}
    superseded(schedule, ELEVEN, by=run_id(schedule.pk, NINE))
    assert decisions(schedule) == {9: "run", 10: "run", 11: "run"}


def test_a_run_that_has_been_queued_before_its_slot_counts(schedule: PeriodicTask) -> None:
    superseded(schedule, NINE, by=run_id(schedule.pk, TEN))
    slot_run(schedule, TEN, Status.SUCCEEDED, queued_at=NINE, waiting_since=NINE)
    assert found(schedule, TEN).count(Decision.SUCCEEDED) == 1


def test_a_record_stands_for_the_slots_that_are_counted_in_it_and_for_no_others(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    covering = slot_run(schedule, NOON, Status.SUCCEEDED)
    why = Why.of(Reason.COALESCED, run=covering.pk)
    slot_run(schedule, ELEVEN, Status.MISSED, coalesced=1, **why.columns)
    assert decisions(schedule) == {9: "run", 10: "covered", 11: "covered"}
    # Many are not counted.
    monkeypatch.setattr(past_slots, "MANY", 1)
    assert decisions(schedule) == {9: "covered", 10: "covered", 11: "covered"}


def test_a_run_that_succeeded_stands_for_the_earlier_slots_that_are_counted_in_it(
    schedule: PeriodicTask,
) -> None:
    slot_run(schedule, ELEVEN, Status.SUCCEEDED, coalesced=1)
    assert decisions(schedule) == {9: "run", 10: "covered", 11: "succeeded"}
    assert decisions(schedule, until=ELEVEN) == {9: "run", 10: "covered"}


def test_what_the_schedule_has_not_decided_yet_is_left_to_it(schedule: PeriodicTask) -> None:
    NextSlot.objects.update(handled_until=TEN)
    assert decisions(schedule) == {9: "run", 10: "run", 11: "pending"}


def test_a_slot_that_is_moved_to_a_later_day_is_left_to_it_though_later_ones_have_run(
    schedule: PeriodicTask,
) -> None:
    CrontabSchedule.objects.update(hour="9,11", day_of_month="2")
    limited_by(schedule, "2026-03-02 08:30 to 2026-03-02 09:30", moved=True)
    NextSlot.objects.update(handled_until=ELEVEN)
    assert decisions(PeriodicTask.objects.get()) == {9: "pending", 11: "run"}
    NextSlot.objects.update(handled_until=NINE + 24 * HOUR)
    assert decisions(PeriodicTask.objects.get()) == {9: "run", 11: "run"}


def test_a_disabled_schedule_will_never_decide(schedule: PeriodicTask) -> None:
    NextSlot.objects.update(handled_until=TEN)
    # Beat has not noticed it yet.
    PeriodicTask.objects.update(enabled=False)
    schedule.refresh_from_db()
    assert decisions(schedule) == {9: "run", 10: "run", 11: "run"}


def test_the_end_of_the_range_is_exclusive(schedule: PeriodicTask) -> None:
    assert found(schedule, NINE, ELEVEN).to_run == [NINE, TEN]


def test_the_schedules_own_period_limits_its_slots(schedule: PeriodicTask) -> None:
    schedule.start_time, schedule.expires = TEN, ELEVEN
    schedule.save()
    assert found(schedule).to_run == [TEN]


def test_a_slot_that_a_clock_change_skips_runs_when_the_schedule_would_have(schedule: PeriodicTask) -> None:
    london = CrontabSchedule.objects.create(minute="30", hour="1", timezone=ZoneInfo("Europe/London"))
    PeriodicTask.objects.filter(pk=schedule.pk).update(crontab=london)
    daily = PeriodicTask.objects.get()
    slots = found(daily, utc(2025, 3, 29), utc(2025, 3, 31)).to_run
    assert slots == [utc(2025, 3, 29, 1, 30), utc(2025, 3, 30, 1, 0)]


def test_runs_for_times_that_are_no_slots_of_the_schedule_any_more_are_counted(
    schedule: PeriodicTask,
) -> None:
    slot_run(schedule, NINE + timedelta(minutes=30), Status.SUCCEEDED)
    slot_run(schedule, TEN, Status.SUCCEEDED)
    assert found(schedule).elsewhere == 1
    assert found(schedule).count(Decision.SUCCEEDED) == 1


def test_a_clocked_schedule_has_one_slot(schedule: PeriodicTask) -> None:
    clocked = ClockedSchedule.objects.create(clocked_time=TEN + timedelta(minutes=5))
    once = PeriodicTask.objects.create(name="once", task="probes.probe", clocked=clocked, one_off=True)
    assert found(once).to_run == [TEN + timedelta(minutes=5)]


def test_which_slot_a_one_off_schedule_had_is_what_the_ledger_says(schedule: PeriodicTask) -> None:
    schedule.one_off, schedule.enabled = True, False
    schedule.save()
    with pytest.raises(BackfillError, match="has no slot in this range"):
        found(schedule)
    slot_run(schedule, TEN, Status.FAILED)
    assert found(schedule).to_run == [TEN]


def test_ordinary_tasks_and_broken_schedules_are_refused(schedule: PeriodicTask) -> None:
    for task, message in ("add everything!", "ordinary Celery task"), ("nobody.knows", "is broken"):
        schedule.task = task
        with pytest.raises(BackfillError, match=message):
            found(schedule)


def test_impossible_ranges_are_refused_with_their_field(schedule: PeriodicTask) -> None:
    for since, until, field in (TEN, TEN, "to"), (TEN, NOON + HOUR, "to"):
        with pytest.raises(BackfillError) as caught:
            found(schedule, since, until)
        assert caught.value.field == field


def test_the_number_of_slots_is_limited(schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(past_slots, "MAX_SLOTS", 3)
    assert len(found(schedule).slots) == 3
    with pytest.raises(BackfillError, match="more than 3 slots"):
        found(schedule, NINE - HOUR)


def test_slots_older_than_the_runs_that_are_kept_may_have_succeeded(
    schedule: PeriodicTask, settings: Settings
) -> None:
    override(settings, KEEP_DAYS=1)
    yesterday = NOON - timedelta(days=1)
    assert found(schedule, yesterday - 2 * HOUR, NOON).forgotten == 3
    assert found(schedule).forgotten == 0
    slot_run(schedule, yesterday, Status.FAILED)
    assert found(schedule, yesterday - 2 * HOUR, NOON).forgotten == 2
    override(settings, KEEP_DAYS=None)
    assert found(schedule, yesterday - 2 * HOUR, NOON).forgotten == 0


def test_no_slot_from_before_the_schedule_was_added_has_succeeded(
    schedule: PeriodicTask, settings: Settings
) -> None:
    override(settings, KEEP_DAYS=1)
    since = NOON - timedelta(days=1) - 2 * HOUR
    own = {"object_type": "django_celery_beat.periodictask", "object_id": str(schedule.pk)}
    AuditEntry.objects.create(**own, verb="added", time=since + HOUR)
    AuditEntry.objects.create(**own, verb="changed", time=NOON)
    assert found(schedule, since, NOON).forgotten == 2
    SchedulePolicy.objects.filter(schedule=schedule).update(imported_line="of a crontab")
    assert found(PeriodicTask.objects.get(pk=schedule.pk), since, NOON).forgotten == 3
    SchedulePolicy.objects.filter(schedule=schedule).update(imported_line="")
    AuditEntry.objects.filter(verb="added").delete()
    assert found(PeriodicTask.objects.get(pk=schedule.pk), since, NOON).forgotten == 3


def test_a_plain_command_does_not_learn_its_slot(schedule: PeriodicTask) -> None:
    assert found(schedule).learns_slot
    schedule.task = "probes.plain_probe"
    assert not found(schedule).learns_slot
