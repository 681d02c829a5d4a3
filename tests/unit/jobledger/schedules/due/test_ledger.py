"""Due schedules become runs: one row per slot, whatever happened to beat in between."""

import sys
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from jobledger.checks.schedules import check_schedules
from jobledger.jobs.declaration import Misfire
from jobledger.models import NextSlot, Pause, Run, SchedulePolicy, Status
from jobledger.reason import MANY
from jobledger.schedules.due import ledger
from jobledger.schedules.words import described
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.builders import override
from tests.unit.jobledger.schedules.builders import NOON, every, hourly, wound_back

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clock")]

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def rows(**filters: Any) -> list[tuple[datetime, str]]:
    found = Run.objects.filter(**filters).order_by("scheduled_for")
    return [(run.scheduled_for, run.status) for run in found if run.scheduled_for]


def test_a_due_slot_becomes_a_queued_run_and_the_schedule_advances() -> None:
    schedule = hourly(kwargs='{"level": 2}', handled_until=NOON - MINUTE)
    recorded = ledger.record_due(NOON)
    run = Run.objects.get()
    assert recorded.queued == [run]
    assert (run.job, run.options, run.trigger, run.status) == ("probe", {"level": 2}, "schedule", "queued")
    assert (run.schedule, run.schedule_name, run.scheduled_for) == (schedule, "hourly", NOON)
    row = NextSlot.objects.get()
    assert (row.slot, row.due_at, row.handled_until) == (NOON + HOUR, NOON + HOUR, NOON)


def test_if_nothing_is_due_nothing_is_recorded() -> None:
    hourly(handled_until=NOON - MINUTE)
    NextSlot.objects.update(due_at=NOON + SECOND)
    assert ledger.record_due(NOON) == ledger.RecordedBatch(queued=[], has_more=False)
    assert rows() == []


def test_a_slot_is_recorded_once_no_matter_how_often_beat_ticks() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    ledger.record_due(NOON)
    wound_back(schedule, NOON - MINUTE)
    ledger.record_due(NOON)
    assert rows() == [(NOON, "queued")]


def test_an_idle_tick_takes_one_query_whatever_the_number_of_schedules() -> None:
    for number in range(20):
        hourly(f"schedule {number}")
    NextSlot.objects.update(due_at=NOON + HOUR)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        ledger.record_due(NOON)
    assert len(queries) == 1


def test_a_batch_takes_the_same_number_of_queries_however_many_are_due(
    django_assert_max_num_queries: Any,
) -> None:
    for number in range(30):
        hourly(f"schedule {number}", handled_until=NOON - MINUTE)
    with django_assert_max_num_queries(14):
        assert len(ledger.record_due(NOON).queued) == 30


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [
        (Misfire.ONCE, ["missed", "queued"]),
        (Misfire.SKIP, ["missed", "missed"]),
        (Misfire.ALL, ["queued", "queued"]),
    ],
)
def test_slots_that_passed_while_beat_was_down_follow_the_policy(
    misfire: Misfire, expected: list[str]
) -> None:
    hourly(handled_until=NOON - 3 * HOUR)
    SchedulePolicy.objects.update(misfire=misfire)
    ledger.record_due(NOON - 30 * MINUTE)
    assert rows() == list(zip([NOON - 2 * HOUR, NOON - HOUR], expected, strict=True))


def test_a_slot_past_its_starting_deadline_is_missed() -> None:
    hourly(handled_until=NOON - MINUTE)
    SchedulePolicy.objects.update(starting_deadline=5 * MINUTE)
    ledger.record_due(NOON + 6 * MINUTE)
    run = Run.objects.get()
    assert (run.status, run.reason) == ("missed", "deadline")
    assert run.reason_details == {"limit_seconds": 300.0}


def test_a_queued_run_expires_at_its_deadline() -> None:
    hourly(handled_until=NOON - MINUTE)
    SchedulePolicy.objects.update(starting_deadline=5 * MINUTE)
    ledger.record_due(NOON)
    assert Run.objects.get().start_before == NOON + 5 * MINUTE
    assert ledger.expire(NOON + 4 * MINUTE) == 0
    assert ledger.expire(NOON + 5 * MINUTE) == 1
    run = Run.objects.get()
    assert (run.status, run.reason) == (Status.EXPIRED, "deadline")


def test_expire_seconds_keeps_its_meaning() -> None:
    hourly(expire_seconds=90, handled_until=NOON - MINUTE)
    ledger.record_due(NOON + SECOND)
    assert Run.objects.get().start_before == NOON + 91 * SECOND


def test_after_a_week_one_row_covers_many_slots() -> None:
    every(1, handled_until=NOON - timedelta(days=7))
    ledger.record_due(NOON)
    assert Run.objects.count() < 1000
    assert Run.objects.get(coalesced__gt=0).coalesced == MANY
    assert Run.objects.filter(status=Status.QUEUED).latest("scheduled_for").scheduled_for == NOON


def test_caught_up_slots_are_written_in_slices_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_RECORDS", 4)
    schedule = wound_back(every(1), NOON - 10 * SECOND)
    SchedulePolicy.objects.filter(schedule=schedule).update(misfire=Misfire.ALL)

    slices = [ledger.record_due(NOON) for _ in range(4)]

    numbers = [
        [(NOON - run.scheduled_for).seconds for run in each.queued if run.scheduled_for] for each in slices
    ]
    assert numbers == [[9, 8, 7, 6], [5, 4, 3, 2], [1, 0], []]
    assert [each.has_more for each in slices] == [True, True, False, False]
    assert NextSlot.objects.get().slot == NOON + SECOND


def test_the_catch_up_limit_applies_to_all_slices_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_RECORDS", 4)
    schedule = wound_back(every(60), NOON - 20 * MINUTE)
    SchedulePolicy.objects.filter(schedule=schedule).update(misfire=Misfire.ALL, catch_up_limit=10)

    while ledger.record_due(NOON).has_more:
        pass

    # The slot at noon is on time, and need not be caught up.
    queued = [NOON - minutes * MINUTE for minutes in range(10, -1, -1)]
    assert rows(status=Status.QUEUED) == [(slot, "queued") for slot in queued]
    assert rows(status=Status.MISSED) == [(NOON - 11 * MINUTE, "missed")]
    assert Run.objects.get(status=Status.MISSED).coalesced == 8


def test_schedules_that_do_not_fit_into_a_slice_wait_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "MAX_RECORDS", 2)
    for number in range(5):
        wound_back(hourly(f"number {number}"), NOON - MINUTE - number * SECOND)

    slices = [ledger.record_due(NOON) for _ in range(3)]

    assert [[run.schedule_name for run in each.queued] for each in slices] == [
        ["number 4", "number 3"],
        ["number 2", "number 1"],
        ["number 0"],
    ]
    assert [each.has_more for each in slices] == [True, True, False]


def test_a_clock_that_is_set_back_by_an_hour_starts_nothing_twice() -> None:
    schedule = wound_back(every(600), NOON - 10 * MINUTE)
    assert [run.scheduled_for for run in ledger.record_due(NOON).queued] == [NOON]

    again = [ledger.record_due(NOON - HOUR + minutes * MINUTE) for minutes in range(0, 61, 5)]
    with time_machine.travel(NOON - HOUR, tick=False):
        ledger.sync([schedule.pk], NOON - HOUR)
        again.append(ledger.record_due(NOON - 30 * MINUTE))

    assert [each.queued for each in again] == [[]] * 14
    ledger.record_due(NOON + 10 * MINUTE)
    assert Run.objects.get(status=Status.QUEUED).scheduled_for == NOON + 10 * MINUTE


def test_jitter_delays_the_start_and_not_the_slot() -> None:
    # The delay depends on the key, and may be none.
    schedule = hourly(handled_until=NOON - MINUTE, pk=1_000_001)
    policy = SchedulePolicy.objects.get()
    policy.jitter = 10 * MINUTE
    policy.save()
    ledger.sync([schedule.pk], NOON - MINUTE)
    row = NextSlot.objects.get()
    assert row.slot == NOON
    assert row.due_at is not None
    assert NOON < row.due_at < NOON + 10 * MINUTE
    assert ledger.record_due(row.due_at).queued[0].scheduled_for == NOON


def test_a_paused_schedule_records_its_slots_as_skipped_with_the_reason() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    pause = Pause.objects.create(schedule=schedule, since=NOON - HOUR, reason="migration", username="ann")
    assert ledger.record_due(NOON).queued == []
    run = Run.objects.get()
    assert (run.status, run.reason) == ("skipped", "paused")
    assert run.reason_details == {"pause": pause.pk, "user": "ann", "comment": "migration"}


def test_a_pause_of_the_whole_service_says_so() -> None:
    hourly(handled_until=NOON - MINUTE)
    pause = Pause.objects.create(since=NOON - HOUR, until=NOON + HOUR)
    ledger.record_due(NOON)
    facts = {"pause": pause.pk, "service": True, "until": (NOON + HOUR).isoformat()}
    assert Run.objects.get().reason_details == facts


def test_only_a_slot_that_is_caught_up_has_a_reason() -> None:
    hourly(handled_until=NOON - MINUTE)
    ledger.record_due(NOON)
    Run.objects.update(status=Status.RUNNING, publish_after=None)
    ledger.record_due(NOON + HOUR + 30 * MINUTE)
    assert list(Run.objects.order_by("scheduled_for").values_list("reason", flat=True)) == ["", "caught_up"]


def test_a_coalesced_slot_refers_to_the_run_that_replaces_it() -> None:
    hourly(handled_until=NOON - 2 * HOUR)
    ledger.record_due(NOON + 30 * MINUTE)
    older, newest = Run.objects.order_by("scheduled_for")
    facts = {"slot": NOON.isoformat(), "run": str(newest.pk)}
    assert (older.status, older.reason, older.reason_details) == ("missed", "coalesced", facts)


def test_a_paused_service_pauses_every_schedule() -> None:
    hourly("one", handled_until=NOON - MINUTE)
    hourly("two", handled_until=NOON - MINUTE)
    Pause.objects.create(since=NOON - HOUR)
    ledger.record_due(NOON)
    assert [status for _, status in rows()] == ["skipped", "skipped"]


def test_a_job_can_be_exempt_from_pauses_of_the_service_but_not_from_those_of_its_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    exempt, paused = hourly("exempt", handled_until=NOON - MINUTE), hourly("p", handled_until=NOON - MINUTE)
    hourly("other", handled_until=NOON - MINUTE, task="probes.plain_probe")
    Pause.objects.create(since=NOON - HOUR)
    Pause.objects.create(schedule=paused, since=NOON - HOUR)
    assert [run.schedule for run in ledger.record_due(NOON).queued] == [exempt]
    assert sorted(status for _, status in rows()) == ["queued", "skipped", "skipped"]


def test_an_exposed_command_is_exempt_if_the_settings_say_so(settings: Any) -> None:
    override(settings, EXPOSED_COMMANDS={"plain_probe": {"runs_while_paused": True}})
    hourly(handled_until=NOON - MINUTE, task="probes.plain_probe")
    Pause.objects.create(since=NOON - HOUR)
    ledger.record_due(NOON)
    assert rows() == [(NOON, "queued")]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kwargs": '{"level": '}, "kwargs: '{\"level\": ' is not valid JSON"),
        ({"kwargs": "[1]"}, "kwargs: '[1]' is not an object"),
        ({"args": "[1]"}, "a job takes keyword arguments only"),
        ({"task": "tasks_app.removed"}, "there is no job or task named 'tasks_app.removed'"),
        ({"crontab": None}, "exactly one of crontab, interval, solar, clocked is required, not none"),
    ],
)
def test_a_broken_schedule_does_not_affect_others(change: dict[str, Any], reason: str) -> None:
    bad = hourly("bad", handled_until=NOON - MINUTE)
    hourly("good", handled_until=NOON - MINUTE)
    PeriodicTask.objects.filter(pk=bad.pk).update(**change)
    ledger.record_due(NOON)
    row = NextSlot.objects.get(schedule=bad)
    assert reason in row.broken
    assert row.due_at is None
    assert rows() == [(NOON, "queued")]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("minute", "61", "minute"),
        ("timezone", "Europe/Londn", "Europe/Londn"),
        ("day_of_week", "noday", "day"),
    ],
)
def test_invalid_times_written_by_sql_break_only_their_schedule(column: str, value: str, reason: str) -> None:
    bad = hourly("bad", handled_until=NOON - MINUTE)
    hourly("good", handled_until=NOON - MINUTE)
    with connection.cursor() as cursor:
        table = CrontabSchedule._meta.db_table
        cursor.execute(f"UPDATE {table} SET {column} = %s WHERE id = %s", [value, bad.crontab_id])
    ledger.record_due(NOON)
    assert reason in NextSlot.objects.get(schedule=bad).broken
    assert rows() == [(NOON, "queued")]


def test_without_ephem_a_solar_schedule_is_broken_and_does_not_affect_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sunset = SolarSchedule.objects.create(event="sunset", latitude=51, longitude=0)
    bad = PeriodicTask.objects.create(name="bad", task="probes.probe", solar=sunset)
    wound_back(bad, NOON - MINUTE)
    hourly("good", handled_until=NOON - MINUTE)
    monkeypatch.setitem(sys.modules, "ephem", None)
    ledger.record_due(NOON)
    reason = "solar schedules need ephem: install django-jobledger[solar]"
    assert NextSlot.objects.get(schedule=bad).broken == reason
    assert rows() == [(NOON, "queued")]
    assert [reason in message.msg for message in check_schedules(databases=["default"])] == [True]
    assert described(bad) == "every day at sunset at 51° N, 0° E"


def test_a_broken_schedule_continues_once_it_is_fixed() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    PeriodicTask.objects.filter(pk=schedule.pk).update(kwargs="{")
    ledger.record_due(NOON)
    PeriodicTask.objects.filter(pk=schedule.pk).update(kwargs="{}")
    ledger.sync([schedule.pk], NOON + SECOND)
    assert NextSlot.objects.get().broken == ""
    assert rows() == [(NOON, "queued")]


def test_a_one_off_schedule_runs_once_and_is_disabled() -> None:
    at = ClockedSchedule.objects.create(clocked_time=NOON)
    for name in "one", "sibling":
        schedule = PeriodicTask.objects.create(name=name, task="probes.probe", clocked=at, one_off=True)
        wound_back(schedule, NOON - MINUTE)
    ledger.record_due(NOON)
    assert rows() == [(NOON, "queued"), (NOON, "queued")]
    assert not PeriodicTask.objects.filter(enabled=True).exists()
    assert not NextSlot.objects.exists()


def once_at(at: datetime) -> PeriodicTask:
    """A schedule with this single time, planned by beat long before."""
    clocked = ClockedSchedule.objects.create(clocked_time=at)
    schedule = PeriodicTask.objects.create(name="once", task="probes.probe", clocked=clocked, one_off=True)
    NextSlot.objects.update(slot=at, due_at=at, handled_until=NOON - HOUR)
    return schedule


def test_a_single_time_that_was_missed_can_be_given_a_new_one() -> None:
    schedule = once_at(NOON)
    ClockedSchedule.objects.update(clocked_time=NOON + 2 * HOUR)
    ledger.sync([schedule.pk], NOON + 30 * MINUTE)
    assert rows() == [(NOON, "missed")]
    ledger.record_due(NOON + 2 * HOUR)
    assert rows() == [(NOON, "missed"), (NOON + 2 * HOUR, "queued")]
    assert not PeriodicTask.objects.filter(enabled=True).exists()


def test_a_single_time_that_has_just_come_does_not_take_its_new_one_away() -> None:
    schedule = once_at(NOON)
    ClockedSchedule.objects.update(clocked_time=NOON + 2 * HOUR)
    ledger.sync([schedule.pk], NOON + SECOND)
    assert rows() == [(NOON, "queued")]
    ledger.record_due(NOON + 2 * HOUR)
    assert (NOON + 2 * HOUR, "queued") in rows()


def test_a_schedule_limited_to_one_run_has_it_at_a_later_time_if_an_edit_missed_the_first() -> None:
    schedule = hourly(handled_until=NOON - MINUTE, one_off=True)
    NextSlot.objects.update(slot=NOON, due_at=NOON)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + 10 * MINUTE)
    ledger.record_due(NOON + 30 * MINUTE)
    ledger.record_due(NOON + 90 * MINUTE)
    assert rows() == [(NOON, "missed"), (NOON + 30 * MINUTE, "queued")]


def test_a_schedule_limited_to_one_run_has_no_second_one_because_of_an_edit() -> None:
    schedule = hourly(handled_until=NOON - MINUTE, one_off=True)
    NextSlot.objects.update(slot=NOON, due_at=NOON)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + SECOND)
    assert (rows(), NextSlot.objects.count()) == ([(NOON, "queued")], 0)
    assert not PeriodicTask.objects.filter(enabled=True).exists()


def test_an_edit_never_creates_a_slot_in_the_past() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    ledger.record_due(NOON)
    CrontabSchedule.objects.update(minute="30", hour="8")
    ledger.sync([schedule.pk], NOON + SECOND)
    assert NextSlot.objects.get().slot == NOON.replace(hour=8, minute=30) + timedelta(days=1)
    ledger.record_due(NOON + MINUTE)
    assert rows() == [(NOON, "queued")]


def test_an_interval_that_is_made_to_count_from_another_time_has_no_slot_in_the_past() -> None:
    schedule = every(3600, handled_until=NOON - HOUR)
    ledger.record_due(NOON)
    SchedulePolicy.objects.update(anchor=NOON - 30 * MINUTE)
    ledger.sync([schedule.pk], NOON + 40 * MINUTE)
    assert rows() == [(NOON, "queued")]
    assert NextSlot.objects.get().slot == NOON + 90 * MINUTE


def test_a_slot_by_which_an_interval_was_due_before_it_counted_from_another_time_is_not_lost() -> None:
    schedule = every(3600, handled_until=NOON - HOUR)
    NextSlot.objects.update(slot=NOON, due_at=NOON)
    SchedulePolicy.objects.update(anchor=NOON - 30 * MINUTE)
    ledger.sync([schedule.pk], NOON + 2 * HOUR + SECOND)
    assert rows() == [(NOON, "missed"), (NOON + HOUR, "missed"), (NOON + 2 * HOUR, "queued")]
    assert NextSlot.objects.get().slot == NOON + 150 * MINUTE


def test_a_slot_that_was_just_due_when_the_timing_was_edited_still_runs() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    NextSlot.objects.update(slot=NOON, due_at=NOON)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + SECOND)
    assert rows() == [(NOON, "queued")]


def test_slots_that_were_long_overdue_when_the_timing_was_edited_are_missed() -> None:
    schedule = hourly(handled_until=NOON - HOUR)
    NextSlot.objects.update(slot=NOON, due_at=NOON)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + 2 * HOUR + 10 * MINUTE)
    assert rows() == [(NOON + hours * HOUR, "missed") for hours in range(3)]
    assert {run.reason for run in Run.objects.all()} == {"schedule_edited"}
    assert NextSlot.objects.get().slot == NOON + 2.5 * HOUR


def test_after_a_week_without_beat_an_edit_leaves_few_rows_for_many_slots() -> None:
    schedule = hourly(handled_until=NOON - timedelta(days=7))
    SchedulePolicy.objects.update(misfire=Misfire.ALL, catch_up_limit=1000)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + MINUTE)
    first = Run.objects.order_by("scheduled_for")[0]
    assert (Run.objects.count(), first.coalesced) == (101, 68 - 1)


def test_a_slot_that_waited_for_its_jitter_when_the_timing_was_edited_is_not_lost() -> None:
    schedule = hourly(handled_until=NOON - HOUR)
    NextSlot.objects.update(slot=NOON, due_at=NOON + 5 * MINUTE)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + SECOND)
    assert rows() == [(NOON, "queued")]


def test_a_slot_that_a_pause_held_when_the_timing_was_edited_is_skipped() -> None:
    schedule = hourly(handled_until=NOON - HOUR)
    Pause.objects.create(schedule=schedule, since=NOON - HOUR, reason="migration", on_resume="once")
    NextSlot.objects.update(slot=NOON, due_at=None)
    CrontabSchedule.objects.update(minute="30")
    ledger.sync([schedule.pk], NOON + SECOND)
    assert rows() == [(NOON, "skipped")]


def test_a_deadline_counts_from_the_jittered_start() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    SchedulePolicy.objects.update(jitter=HOUR / 2, starting_deadline=MINUTE)
    ledger.sync([schedule.pk], NOON - MINUTE)
    due_at = NextSlot.objects.get().due_at
    assert due_at is not None
    (run,) = ledger.record_due(due_at).queued
    assert run.start_before == due_at + MINUTE


def test_a_disabled_schedule_loses_its_next_slot_and_gets_no_run() -> None:
    schedule = hourly(handled_until=NOON - MINUTE)
    PeriodicTask.objects.filter(pk=schedule.pk).update(enabled=False)
    ledger.record_due(NOON)
    assert (rows(), NextSlot.objects.count()) == ([], 0)


def test_an_ordinary_task_is_recorded_under_its_name_with_its_arguments() -> None:
    hourly(task="tests.probes.tasks.add", args="[1, 2]", handled_until=NOON - MINUTE)
    ledger.record_due(NOON)
    run = Run.objects.get()
    assert (run.job, run.args, run.status) == ("tests.probes.tasks.add", [1, 2], "queued")


def test_a_task_of_another_service_that_the_settings_allow_is_assumed_to_exist(settings: Any) -> None:
    override(settings, SCHEDULABLE_TASKS=["billing.tasks.close_month"])
    hourly(task="billing.tasks.close_month", handled_until=NOON - MINUTE)
    ledger.record_due(NOON)
    assert Run.objects.get().job == "billing.tasks.close_month"


def test_a_missing_policy_is_created() -> None:
    hourly(handled_until=NOON - MINUTE)
    SchedulePolicy.objects.all().delete()
    ledger.record_due(NOON)
    assert SchedulePolicy.objects.count() == 1
    assert rows() == [(NOON, "queued")]


def test_an_interval_stays_on_its_grid() -> None:
    schedule = every(90)
    policy = SchedulePolicy.objects.get()
    policy.anchor = NOON
    policy.save()
    wound_back(schedule, NOON)
    ledger.record_due(NOON + 95 * SECOND)
    ledger.record_due(NOON + 187 * SECOND)
    assert [slot for slot, _ in rows()] == [NOON + 90 * SECOND, NOON + 180 * SECOND]


def test_editing_shared_times_updates_every_schedule_that_uses_them() -> None:
    interval = IntervalSchedule.objects.create(every=60, period="seconds")
    for name in "one", "two":
        PeriodicTask.objects.create(name=name, task="probes.probe", interval=interval)
    before = set(NextSlot.objects.values_list("timing", flat=True))
    interval.every = 3600
    interval.save()
    assert before.isdisjoint(NextSlot.objects.values_list("timing", flat=True))


def test_next_due_at_is_the_earliest() -> None:
    assert ledger.next_due_at() is None
    hourly("one")
    hourly("two")
    NextSlot.objects.filter(schedule__name="one").update(due_at=NOON + HOUR)
    NextSlot.objects.filter(schedule__name="two").update(due_at=NOON)
    assert ledger.next_due_at() == NOON
