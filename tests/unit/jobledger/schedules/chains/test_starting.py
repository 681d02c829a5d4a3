"""A schedule starts after others once for each round of their runs, whatever dies in between."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from celery import current_app
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.declaration import Concurrency, LeftOutSlots, Misfire, PausedSlots
from jobledger.models import (
    After,
    Backfill,
    Calendar,
    ChainStart,
    NextSlot,
    Pause,
    Predecessor,
    Run,
    SchedulePolicy,
    Status,
    Trigger,
)
from jobledger.runs import attempts, dispatch, overlap
from jobledger.runs.execution import runner
from jobledger.runs.outcome import SUCCESS
from jobledger.schedules import scheduler, stored_schedules
from jobledger.schedules.chains import links, starting
from jobledger.schedules.due import ledger
from jobledger.schedules.reconciliation import Reconciliation
from jobledger.schedules.stored_times import ChainTimes
from tests.unit.jobledger.alerts.builders import CRASH
from tests.unit.jobledger.schedules.builders import NOON, hourly, limited_by
from tests.unit.jobledger.schedules.chains.builders import ended, follower
from tests.unit.side_by_side import side_by_side

pytestmark = pytest.mark.django_db

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
NINE, TEN, ELEVEN = (NOON - hours * HOUR for hours in (3, 2, 1))
EIGHT = NINE - HOUR
NOW = ELEVEN + 10 * MINUTE


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message leaves this process."""
    monkeypatch.setattr("jobledger.runs.publishing.publisher.try_to_publish", lambda runs: None)


@pytest.fixture
def first() -> PeriodicTask:
    return planned("first")


def planned(name: str) -> PeriodicTask:
    """An hourly schedule all of whose slots up to now are on record."""
    schedule = hourly(name)
    NextSlot.objects.filter(schedule=schedule).update(handled_until=ELEVEN, slot=NOON, due_at=NOON)
    return schedule


def look(now: datetime = NOW) -> list[tuple[datetime | None, str]]:
    """The slots that beat records when it looks, with the states of their runs."""
    NextSlot.objects.filter(look_at__isnull=False).update(look_at=now)
    return [(run.scheduled_for, run.status) for run in starting.advance(now)]


def states(schedule: PeriodicTask) -> dict[Any, tuple[str, str]]:
    """The states of all runs of a schedule, with the reasons, by slot."""
    runs = Run.objects.filter(schedule=schedule)
    return {run.scheduled_for: (run.status, run.reason) for run in runs.order_by("scheduled_for")}


def test_it_starts_when_a_run_has_succeeded_and_is_given_its_slot(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT, kwargs='{"show_slot": true}')
    before = ended(first, NINE)
    assert look() == [(NINE, "queued")]
    run = Run.objects.get(trigger=Trigger.CHAIN)
    assert (run.job, run.schedule, run.schedule_name, run.options) == (
        "probe",
        then,
        "follower",
        {"show_slot": True},
    )
    assert list(ChainStart.objects.values_list("schedule", "scheduled_for", "predecessor")) == [
        (then.pk, NINE, before.pk)
    ]
    done = runner.execute(run.pk, worker="w")
    assert done is not None
    assert (done.run.status, done.last_line) == (Status.SUCCEEDED, f"slot {NINE.isoformat()}")


def test_it_starts_once_however_often_beat_looks(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    ended(first, NINE)
    assert look() == [(NINE, "queued")]
    assert look() == []
    Run.objects.update(status=Status.SUCCEEDED)
    ended(first, TEN)
    assert look() == [(TEN, "queued")]


def test_a_beat_that_dies_before_it_commits_leaves_the_start_to_the_next(
    first: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower("first", since=EIGHT)
    ended(first, NINE)
    with monkeypatch.context() as patched:
        patched.setattr(ChainStart.objects, "bulk_create", interrupted)
        with pytest.raises(KeyboardInterrupt):
            look()
    assert not Run.objects.filter(trigger=Trigger.CHAIN).exists()
    assert look() == [(NINE, "queued")]


def interrupted(*args: Any, **kwargs: Any) -> None:
    raise KeyboardInterrupt


def test_a_slot_that_was_recorded_but_not_counted_is_not_started_twice(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    ended(first, NINE)
    look()
    Predecessor.objects.update(counted_until=EIGHT)
    look()
    assert list(states(then)) == [NINE]


@pytest.mark.django_db(transaction=True)
def test_of_several_beats_one_starts_it(first: PeriodicTask, tmp_path: Path) -> None:
    then = follower("first", since=EIGHT)
    ended(first, NINE)
    NextSlot.objects.filter(schedule=then).update(look_at=NOW)
    found: list[Run] = []
    with side_by_side(tmp_path) as database:
        database.call([lambda: found.extend(starting.advance(NOW))] * 3)
        assert [run.scheduled_for for run in found] == [NINE]
        assert list(states(then)) == [NINE]


# How a predecessor ends


@pytest.mark.parametrize("status", [Status.FAILED, Status.TIMED_OUT, Status.LOST, Status.CANCELLED])
def test_after_a_run_that_did_not_succeed_it_starts_only_if_so_chosen(
    first: PeriodicTask, status: Status
) -> None:
    follower("first", since=EIGHT)
    always = follower("first", since=EIGHT, name="always", after_failure=True)
    ended(first, NINE, status)
    assert look() == [(NINE, "queued")]
    assert list(states(always)) == [NINE]


@pytest.mark.parametrize("status", [Status.SKIPPED, Status.MISSED, Status.EXPIRED, Status.CANCELLED])
def test_after_a_run_that_was_never_executed_it_does_not_start(first: PeriodicTask, status: Status) -> None:
    follower("first", since=EIGHT)
    follower("first", since=EIGHT, name="always", after_failure=True)
    ended(first, NINE, status, started_at=None)
    assert look() == []
    ended(first, TEN)
    assert look() == [(TEN, "queued"), (TEN, "queued")]


def test_a_run_that_is_retried_has_not_ended(first: PeriodicTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobledger.runs.attempts.next_attempt_at", lambda run, outcome: NOW)
    follower("first", since=EIGHT, after_failure=True)
    run = ended(first, NINE, Status.RUNNING, finished_at=None)
    assert attempts.end(run, CRASH)
    assert look() == []
    monkeypatch.undo()
    Run.objects.filter(pk=run.pk).update(status=Status.RUNNING, started_at=NOW)
    run.refresh_from_db()
    assert attempts.end(run, SUCCESS)
    assert look() == [(NINE, "queued")]


def test_runs_that_users_and_backfills_start_are_not_followed(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    for trigger in Trigger:
        if trigger not in (Trigger.SCHEDULE, Trigger.CHAIN):
            slot = NINE + list(Trigger).index(trigger) * MINUTE
            ended(first, slot, trigger=trigger)
    failed = ended(first, NINE, Status.FAILED)
    dispatch.run_again(failed, trigger=Trigger.ADMIN, username="ann")
    Run.objects.filter(status=Status.QUEUED).update(status=Status.SUCCEEDED, finished_at=NOW)
    assert look() == []


def test_of_runs_that_one_run_stands_for_only_that_one_is_followed(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    ended(first, NINE, Status.MISSED, started_at=None, reason="superseded")
    ended(first, TEN)
    assert look() == [(TEN, "queued")]


def test_what_was_due_before_the_chain_was_set_up_does_not_count(first: PeriodicTask) -> None:
    follower("first", since=NINE)
    ended(first, NINE)
    assert look() == []


def test_a_later_run_waits_for_an_earlier_one_that_has_not_ended(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    live = ended(first, NINE, Status.RUNNING)
    ended(first, TEN)
    assert look() == []
    Run.objects.filter(pk=live.pk).update(status=Status.SUCCEEDED)
    SchedulePolicy.objects.update(misfire=Misfire.ALL, concurrency=Concurrency.ALLOW)
    assert look() == [(NINE, "queued"), (TEN, "queued")]


def test_an_ordinary_task_whose_end_is_not_known_is_not_followed(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    follower("first", since=EIGHT, name="always", after_failure=True)
    ended(first, NINE, Status.SENT)
    assert look() == []


def test_an_ordinary_task_is_followed_once_its_end_is_known(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    awaited = ended(first, NINE, Status.SENT, look_at=NOON, finished_at=None)
    ended(first, TEN)
    assert look() == []
    Run.objects.filter(pk=awaited.pk).update(status=Status.SUCCEEDED, look_at=None)
    SchedulePolicy.objects.update(misfire=Misfire.ALL, concurrency=Concurrency.ALLOW)
    assert look() == [(NINE, "queued"), (TEN, "queued")]


# Several predecessors


def test_with_several_predecessors_it_starts_once_all_have_succeeded(first: PeriodicTask) -> None:
    second = planned("second")
    then = follower("first", "second", since=EIGHT)
    one = ended(first, NINE)
    assert look() == []
    other = ended(second, NINE)
    assert look() == [(NINE, "queued")]
    starts = ChainStart.objects.filter(schedule=then).values_list("predecessor", flat=True)
    assert set(starts) == {one.pk, other.pk}


def test_a_failure_of_one_of_them_is_not_made_up_for_by_its_next_run(first: PeriodicTask) -> None:
    second = planned("second")
    follower("first", "second", since=EIGHT)
    ended(first, NINE)
    ended(second, NINE, Status.FAILED)
    ended(second, TEN)
    assert look() == []
    ended(first, TEN)
    assert look() == [(TEN, "queued")]


def test_a_slot_that_is_due_but_not_recorded_yet_is_waited_for(first: PeriodicTask) -> None:
    second = planned("second")
    follower("first", "second", since=EIGHT)
    ended(first, NINE)
    ended(second, NINE + 5 * MINUTE)
    NextSlot.objects.filter(schedule=first).update(slot=NINE + MINUTE)
    assert look() == []
    NextSlot.objects.filter(schedule=first).update(slot=NOON)
    assert look() == [(NINE + 5 * MINUTE, "queued")]


def test_the_ends_of_a_frequent_predecessor_are_not_read_again_and_again(first: PeriodicTask) -> None:
    planned("second")
    follower("first", "second", since=EIGHT)
    for slot in NINE, TEN, ELEVEN:
        ended(first, slot)
    assert look() == []
    assert Predecessor.objects.get(schedule=first).counted_until == TEN


# The follower


def test_a_run_that_a_chain_has_started_is_followed_as_well(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    last = follower("follower", since=EIGHT, name="last")
    ended(then, NINE, trigger=Trigger.CHAIN)
    assert look() == [(NINE, "queued")]
    assert list(states(last)) == [NINE]


def test_a_disabled_follower_starts_nothing_and_counts_from_when_it_is_enabled(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    then.enabled = False
    then.save()
    ended(first, NINE)
    assert look() == []
    then.enabled = True
    then.save()
    assert look() == []
    later = NOW + HOUR
    ended(first, NOON)
    NextSlot.objects.filter(schedule=first).update(slot=NOON + HOUR)
    assert look(later) == [(NOON, "queued")]


def test_an_edit_of_the_description_drops_nothing(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    ended(first, NINE, Status.RUNNING)
    assert look() == []
    then.description = "Edited"
    then.save()
    Run.objects.update(status=Status.SUCCEEDED)
    assert look() == [(NINE, "queued")]


def expiring(then: PeriodicTask) -> None:
    then.expires = NOON + 24 * HOUR
    then.save()


def with_an_edited_calendar(then: PeriodicTask) -> None:
    limited_by(then, "2030-01-01")
    SchedulePolicy.objects.get(schedule=then).save()
    calendar = Calendar.objects.get()
    calendar.entries = "2031-01-01"
    calendar.save()


def after_failures_too(then: PeriodicTask) -> None:
    policy = SchedulePolicy.objects.get(schedule=then)
    policy.after = After.END
    policy.save()


@pytest.mark.parametrize("edit", [expiring, with_an_edited_calendar, after_failures_too])
def test_an_edit_while_a_predecessor_runs_drops_nothing(
    first: PeriodicTask, edit: Callable[[PeriodicTask], None]
) -> None:
    then = follower("first", since=EIGHT)
    ended(first, NINE, Status.RUNNING)
    assert look() == []
    edit(then)
    Run.objects.update(status=Status.SUCCEEDED)
    assert look() == [(NINE, "queued")]


def test_a_schedule_that_is_made_to_start_after_others_counts_from_then(first: PeriodicTask) -> None:
    then = hourly("then", handled_until=EIGHT)
    ended(first, NINE)
    stored_schedules.assign(then, ChainTimes(after=("first",)))
    SchedulePolicy.objects.filter(schedule=then).update(after=After.SUCCESS)
    then.policy.after = After.SUCCESS
    links.assign(then.pk, ["first"], EIGHT)
    then.save()
    assert look() == []


def test_it_starts_after_others_although_a_time_of_its_own_was_due_before(first: PeriodicTask) -> None:
    then = hourly("then", handled_until=ELEVEN - MINUTE)
    NextSlot.objects.filter(schedule=then).update(slot=ELEVEN, due_at=ELEVEN)
    stored_schedules.assign(then, ChainTimes(after=("first",)))
    links.assign(then.pk, ["first"], NOW)
    SchedulePolicy.objects.filter(schedule=then).update(after=After.SUCCESS)
    then.policy.after = After.SUCCESS
    then.save()
    assert states(then) == {ELEVEN: ("missed", "schedule_edited")}
    ended(first, NOON)
    NextSlot.objects.filter(schedule=first).update(slot=NOON + HOUR)
    assert look(NOON + MINUTE) == [(NOON, "queued")]


def test_a_deleted_follower_is_forgotten(first: PeriodicTask) -> None:
    follower("first", since=EIGHT).delete()
    ended(first, NINE)
    assert look() == []
    assert not Predecessor.objects.exists()


def test_a_renamed_predecessor_is_still_followed(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    first.name = "renamed"
    first.save()
    ended(first, NINE)
    assert look() == [(NINE, "queued")]


def test_a_follower_whose_predecessor_is_deleted_is_broken_until_there_is_one_again(
    first: PeriodicTask,
) -> None:
    then = follower("first", since=EIGHT)
    first.delete()
    row = NextSlot.objects.get(schedule=then)
    assert row.broken == "after: there is no schedule 'first'"
    assert look() == []
    again = planned("first")
    row.refresh_from_db()
    assert (row.broken, row.look_at) == ("", NOW)
    ended(again, NOON)
    NextSlot.objects.filter(schedule=again).update(slot=NOON + HOUR)
    assert look(NOON + MINUTE) == [(NOON, "queued")]


def awaiting(name: str) -> PeriodicTask:
    """A follower whose predecessor of this name is gone."""
    then = follower(name, since=EIGHT)
    PeriodicTask.objects.get(name=name).delete()
    assert NextSlot.objects.get(schedule=then).broken
    return then


def starts_after(name: str, then: PeriodicTask) -> bool:
    link = Predecessor.objects.get(follower=then)
    is_linked = link.schedule is not None and link.schedule.name == name
    return is_linked and not NextSlot.objects.get(schedule=then).broken


def test_a_schedule_that_is_given_the_name_takes_the_place_of_a_predecessor_that_is_gone(
    first: PeriodicTask,
) -> None:
    then, other = awaiting("first"), planned("other")
    other.name = "first"
    other.save()
    assert starts_after("first", then)


def test_so_does_one_whose_name_or_row_was_written_without_a_signal(first: PeriodicTask) -> None:
    then = awaiting("first")
    planned("other")
    PeriodicTask.objects.filter(name="other").update(name="first")
    assert Reconciliation().step()
    assert starts_after("first", then)


def test_naming_the_predecessor_again_finds_the_schedule_that_has_the_name_now(first: PeriodicTask) -> None:
    then = awaiting("first")
    planned("other")
    PeriodicTask.objects.filter(name="other").update(name="first")
    links.assign(then.pk, ["first"], NOW)
    ledger.sync([then.pk], NOW)
    assert starts_after("first", then)


def test_a_predecessor_that_is_given_the_name_of_one_that_is_gone_stands_for_both(
    first: PeriodicTask,
) -> None:
    second = planned("second")
    then = follower("first", "second", since=EIGHT)
    first.delete()
    second.name = "first"
    second.save()
    assert starts_after("first", then)
    ended(second, NINE)
    assert look() == [(NINE, "queued")]


def test_a_predecessor_that_is_deleted_under_a_new_name_is_missed_by_that_name(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    first.name = "renamed"
    first.save()
    first.delete()
    assert NextSlot.objects.get(schedule=then).broken == "after: there is no schedule 'renamed'"


def test_a_schedule_can_be_deleted_that_a_chain_has_started(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    before = ended(first, NINE)
    look()
    then.delete()
    first.delete()
    assert ChainStart.objects.count() == 1
    before.delete()
    assert ChainStart.objects.count() == 0


def test_a_predecessor_and_its_follower_are_deleted_together(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    PeriodicTask.objects.all().delete()
    assert (NextSlot.objects.count(), Predecessor.objects.count()) == (0, 0)


def test_times_of_its_own_besides_predecessors_break_it(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    then.crontab, then.clocked = first.crontab, None
    then.save()
    assert "times of its own" in NextSlot.objects.get(schedule=then).broken


def test_a_pause_skips_what_would_start_during_it(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    Pause.objects.create(schedule=then, since=NOW - MINUTE, reason="moving")
    ended(first, NINE, finished_at=NOW)
    assert look() == [(NINE, "skipped")]
    assert states(then)[NINE] == ("skipped", "paused")


def test_a_pause_can_hold_the_latest_start_until_it_ends(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    Pause.objects.create(schedule=then, since=NOW - 3 * HOUR, until=NOON, on_resume=PausedSlots.RUN_ONCE)
    ended(first, NINE, finished_at=NINE + MINUTE)
    ended(first, TEN, finished_at=TEN + MINUTE)
    assert look() == [(NINE, "skipped")]
    assert look(NOON) == [(TEN, "queued")]
    assert states(then)[TEN] == ("queued", "after_pause")


def test_a_pause_counts_however_long_ago_it_has_ended(first: PeriodicTask) -> None:
    """Beat may not have been there since."""
    then = follower("first", since=EIGHT)
    Pause.objects.create(schedule=then, since=EIGHT, until=TEN)
    ended(first, NINE, finished_at=NINE + MINUTE)
    look(NOON + 3 * 24 * HOUR)
    assert states(then)[NINE] == ("skipped", "paused")


def test_beat_looks_again_as_soon_as_a_pause_is_ended(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    pause = Pause.objects.create(schedule=then, since=NOW - HOUR, on_resume=PausedSlots.RUN_ONCE)
    ended(first, NINE, finished_at=NOW)
    assert look() == []
    assert NextSlot.objects.get(schedule=then).look_at != NOW
    pause.until = NOW
    pause.save()
    row = NextSlot.objects.get(schedule=then)
    assert (row.look_at, row.due_at) == (NOW, None)


def test_a_pause_of_the_predecessor_starts_nothing(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    ended(first, NINE, Status.SKIPPED, started_at=None, reason="paused")
    assert look() == []


def test_what_its_calendars_leave_out_is_skipped(first: PeriodicTask) -> None:
    then = limited_by(follower("first", since=EIGHT), "mon")
    ledger.sync([then.pk], EIGHT)
    NextSlot.objects.filter(schedule=then).update(handled_until=EIGHT)
    ended(first, NINE)
    assert look() == [(NINE, "skipped")]
    assert states(then)[NINE] == ("skipped", "left_out")


def test_outside_the_calendars_to_which_it_is_limited_there_is_no_record(first: PeriodicTask) -> None:
    then = limited_by(follower("first", since=EIGHT), only_on="tue")
    ledger.sync([then.pk], EIGHT)
    NextSlot.objects.filter(schedule=then).update(handled_until=EIGHT)
    ended(first, NINE)
    assert look() == []
    assert Predecessor.objects.get(follower=then).counted_until == NINE


def test_calendars_cannot_move_it(first: PeriodicTask) -> None:
    then = limited_by(follower("first", since=EIGHT), "mon", moved=True)
    ledger.sync([then.pk], EIGHT)
    assert SchedulePolicy.objects.get(schedule=then).left_out == LeftOutSlots.MOVE
    assert "cannot be moved" in NextSlot.objects.get(schedule=then).broken


def test_before_its_start_time_it_does_not_start(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT, start_time=TEN)
    ended(first, NINE)
    ended(first, TEN)
    assert look() == [(TEN, "queued")]
    assert list(states(then)) == [TEN]


def test_a_random_delay_delays_it(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    SchedulePolicy.objects.filter(schedule=then).update(jitter=timedelta(days=30))
    ended(first, NINE)
    assert look() == []
    assert look(NOW + timedelta(days=30)) == [(NINE, "queued")]


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [
        (Misfire.ONCE, [(NINE, "missed"), (TEN, "queued")]),
        (Misfire.SKIP, [(NINE, "missed"), (TEN, "missed")]),
        (Misfire.ALL, [(NINE, "queued"), (TEN, "queued")]),
    ],
)
def test_what_has_ended_while_beat_was_away_follows_the_misfire_policy(
    first: PeriodicTask, misfire: Misfire, expected: list[Any]
) -> None:
    follower("first", since=EIGHT)
    SchedulePolicy.objects.update(misfire=misfire, concurrency=Concurrency.ALLOW)
    ended(first, NINE)
    ended(first, TEN)
    assert look() == expected


def test_it_is_not_late_because_its_predecessor_has_taken_long(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    SchedulePolicy.objects.filter(schedule=then).update(starting_deadline=5 * MINUTE)
    ended(first, NINE, finished_at=NOW)
    assert look() == [(NINE, "queued")]
    assert Run.objects.get(schedule=then).start_before == NOW + 5 * MINUTE


def test_a_run_that_still_waits_gives_way_to_the_next_one(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    SchedulePolicy.objects.update(concurrency=Concurrency.FORBID)
    ended(first, NINE, finished_at=NOW)
    assert look() == [(NINE, "queued")]
    ended(first, TEN, finished_at=NOW)
    look()
    assert states(then) == {NINE: ("missed", "superseded"), TEN: ("queued", "")}


def test_the_overlap_policy_applies_to_its_runs(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    SchedulePolicy.objects.filter(schedule=then).update(concurrency=Concurrency.FORBID)
    ended(first, NINE, finished_at=NOW)
    Run.objects.create(job="probe", trigger=Trigger.CLI, status=Status.RUNNING, concurrency_key="probe")
    look()
    run = Run.objects.get(schedule=then)
    done = runner.execute(run.pk, worker="w")
    assert done is not None
    assert (done.run.status, done.run.reason) == (Status.SKIPPED, "overlap")
    assert overlap.guard_of(run).key == "probe"


def test_a_backfill_of_a_predecessor_starts_nothing(first: PeriodicTask) -> None:
    follower("first", since=EIGHT)
    ended(first, NINE, trigger=Trigger.BACKFILL)
    assert look() == []
    assert not Backfill.objects.exists()


# When beat looks


def test_beat_looks_when_a_predecessor_is_due(first: PeriodicTask) -> None:
    then = follower("first", since=EIGHT)
    NextSlot.objects.filter(schedule=first).update(due_at=NOW + timedelta(seconds=7))
    look()
    assert NextSlot.objects.get(schedule=then).look_at == NOW + timedelta(seconds=7)


@pytest.mark.parametrize(("minutes", "seconds"), [(0, 1), (3, 3.6), (60, 5)])
def test_beat_looks_often_while_a_predecessor_runs(first: PeriodicTask, minutes: int, seconds: float) -> None:
    then = follower("first", since=EIGHT)
    ended(first, NINE, Status.RUNNING, started_at=NOW - minutes * MINUTE)
    look()
    assert NextSlot.objects.get(schedule=then).look_at == NOW + timedelta(seconds=seconds)


@pytest.mark.django_db(transaction=True)
def test_beats_tick_starts_it_and_publishes_its_message(
    first: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Run] = []
    monkeypatch.setattr("jobledger.runs.publishing.publisher.publish", sent.extend)
    then = follower("first", since=EIGHT)
    ended(first, NINE)
    NextSlot.objects.filter(schedule=then).update(look_at=NOW)
    scheduler.Scheduler(app=current_app).tick()
    assert [run.scheduled_for for run in sent if run.schedule_id == then.pk] == [NINE]
    then.refresh_from_db()
    assert then.total_run_count == 0
    assert then.last_run_at == NOW


def test_a_follower_that_cannot_be_looked_at_does_not_affect_others(
    first: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = follower("first", since=EIGHT, name="broken")
    follower("first", since=EIGHT)
    ended(first, NINE)
    original = starting._look

    def fails(row: NextSlot, *args: Any) -> Any:
        if row.pk == broken.pk:
            raise LookupError("no")
        return original(row, *args)

    monkeypatch.setattr(starting, "_look", fails)
    assert look() == [(NINE, "queued")]
    assert NextSlot.objects.get(schedule=broken).look_at == NOW + starting.LOOK_EVERY
