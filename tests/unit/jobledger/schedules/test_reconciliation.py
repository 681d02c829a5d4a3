"""Next slots stay in sync with schedules: immediately by signals, otherwise at the next pass."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.models import NextSlot, Pause, ProcessKind, Run, SchedulePolicy, ServiceProcess
from jobledger.runs.service.code_version import code_version
from jobledger.schedules import reconciliation as following
from jobledger.schedules.due import ledger
from jobledger.schedules.reconciliation import Reconciliation
from tests.unit.jobledger.schedules.builders import NOON, hourly, wound_back
from tests.unit.postgres import server
from tests.unit.sqlite_files import in_a_file
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """The time of all saves in these tests."""
    with time_machine.travel(NOON + MINUTE, tick=False):
        yield


def reconcile() -> None:
    passes = Reconciliation()
    while not passes.step():
        pass


def test_a_new_schedule_has_a_policy_and_its_next_slot() -> None:
    schedule = hourly()
    assert schedule.policy.misfire == "once"
    row = NextSlot.objects.get(schedule=schedule)
    assert (row.slot, row.due_at, row.handled_until) == (NOON + HOUR, NOON + HOUR, NOON + MINUTE)


def test_editing_the_timing_updates_the_next_slot_immediately() -> None:
    schedule = hourly()
    schedule.crontab.minute = "30"
    schedule.crontab.save()
    assert NextSlot.objects.get().slot == NOON + 30 * MINUTE


def test_editing_to_an_earlier_time_of_day_starts_nothing() -> None:
    schedule = hourly()
    schedule.crontab.hour = "8"
    schedule.crontab.save()
    assert NextSlot.objects.get().slot == NOON + 20 * HOUR


def test_nothing_is_due_before_the_start_time() -> None:
    hourly(start_time=NOON + timedelta(days=2))
    assert NextSlot.objects.get().slot == NOON + timedelta(days=2)


def test_editing_the_options_does_not_change_the_next_slot() -> None:
    schedule = wound_back(hourly(), NOON - MINUTE)
    before = NextSlot.objects.get().handled_until
    schedule.kwargs = '{"level": 2}'
    schedule.description = "new"
    with time_machine.travel(NOON - MINUTE, tick=False):
        schedule.save()
    assert NextSlot.objects.get().handled_until == before


def test_disabling_removes_the_next_slot_and_enabling_counts_from_now() -> None:
    schedule = hourly()
    schedule.enabled = False
    schedule.save()
    assert not NextSlot.objects.exists()
    with time_machine.travel(NOON + 5 * HOUR + MINUTE, tick=False):
        schedule.enabled = True
        schedule.save()
    assert NextSlot.objects.get().slot == NOON + 6 * HOUR


def test_a_deleted_schedule_leaves_nothing() -> None:
    schedule = hourly()
    Pause.objects.create(schedule=schedule)
    schedule.delete()
    assert (NextSlot.objects.count(), SchedulePolicy.objects.count(), Pause.objects.count()) == (0, 0, 0)


def test_a_change_of_the_policy_updates_the_next_slot() -> None:
    # The delay depends on the key, and may be none.
    schedule = hourly(pk=1_000_001)
    schedule.policy.jitter = 10 * MINUTE
    schedule.policy.save()
    row = NextSlot.objects.get()
    assert row.due_at is not None
    assert row.slot is not None
    assert row.slot < row.due_at < row.slot + 10 * MINUTE


@pytest.mark.parametrize("until", [None, NOON + 8 * HOUR])
@pytest.mark.parametrize("whole_service", [True, False])
def test_resuming_makes_beat_plan_a_held_slot(whole_service: bool, until: datetime | None) -> None:
    schedule = hourly("held")
    hourly("waiting")
    pause = Pause.objects.create(
        schedule=None if whole_service else schedule, since=NOON - HOUR, until=until, on_resume="once"
    )
    NextSlot.objects.filter(schedule=schedule).update(slot=NOON, due_at=until)
    pause.until = NOON + MINUTE
    pause.save()
    due = dict(NextSlot.objects.values_list("schedule__name", "due_at"))
    assert due == {"waiting": NOON + HOUR, "held": NOON + MINUTE}


def test_deleting_a_pause_makes_beat_plan_a_held_slot() -> None:
    pause = Pause.objects.create(schedule=hourly())
    NextSlot.objects.update(slot=NOON, due_at=None)
    pause.delete()
    assert NextSlot.objects.get().due_at == NOON + MINUTE


def test_an_update_without_a_signal_is_found() -> None:
    hourly()
    CrontabSchedule.objects.update(minute="45")
    assert NextSlot.objects.get().slot == NOON + HOUR
    reconcile()
    assert NextSlot.objects.get().slot == NOON + 45 * MINUTE


def test_schedules_created_in_bulk_are_found() -> None:
    crontab = hourly().crontab
    PeriodicTask.objects.bulk_create(
        [PeriodicTask(name=f"bulk {number}", task="probes.probe", crontab=crontab) for number in range(3)]
    )
    reconcile()
    assert NextSlot.objects.filter(slot=NOON + HOUR).count() == 4
    assert SchedulePolicy.objects.count() == 4


def test_a_schedule_disabled_by_an_update_is_found() -> None:
    hourly()
    PeriodicTask.objects.update(enabled=False)
    reconcile()
    assert not NextSlot.objects.exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task": "probes.gone"}, "there is no job or task named 'probes.gone'"),
        ({"kwargs": "{level"}, "kwargs: '{level' is not valid JSON"),
        ({"args": "[1]"}, "args: a job takes keyword arguments only"),
    ],
)
def test_a_schedule_made_invalid_by_an_update_is_marked_broken_before_its_next_slot(
    changes: dict[str, str], expected: str
) -> None:
    invalid, good = hourly("invalid"), hourly("good")
    PeriodicTask.objects.filter(pk=invalid.pk).update(**changes)
    reconcile()
    assert expected in NextSlot.objects.get(schedule=invalid).broken
    assert NextSlot.objects.get(schedule=good).broken == ""
    PeriodicTask.objects.filter(pk=invalid.pk).update(task="probes.probe", kwargs="{}", args="[]")
    reconcile()
    row = NextSlot.objects.get(schedule=invalid)
    assert (row.broken, row.slot) == ("", NOON + HOUR)


def test_a_schedule_whose_task_was_removed_is_marked_broken_before_its_next_slot() -> None:
    schedule = hourly()
    PeriodicTask.objects.filter(pk=schedule.pk).update(task="probes.gone")
    # As left by a process with older code, which still had the task.
    NextSlot.objects.update(target="probes.gone|[]|{}|-|-|-")
    reconcile()
    assert "there is no job or task" in NextSlot.objects.get().broken


def test_a_queue_that_cannot_be_used_breaks_the_schedule_before_its_next_slot() -> None:
    schedule = hourly()
    PeriodicTask.objects.filter(pk=schedule.pk).update(queue="_kombu.binding.celery")
    reconcile()
    reason = "its queue '_kombu.binding.celery' cannot be used: it is reserved by Celery"
    assert NextSlot.objects.get().broken == reason
    schedule.save()
    row = NextSlot.objects.get()
    assert (row.broken, row.slot) == ("", NOON + HOUR)


def test_a_schedule_without_a_queue_is_not_evaluated_again_at_every_pass() -> None:
    hourly()
    assert not following._changed(PeriodicTask.objects.all()).exists()


def taken_away(schedule: PeriodicTask, *, by_version: str) -> None:
    """The code that computed the next slot had the task, but this process does not."""
    PeriodicTask.objects.filter(pk=schedule.pk).update(task="probes.gone")
    NextSlot.objects.update(target="probes.gone|[]|{}|-|-|-", version=by_version)


def beat_of(version: str, seen_at: datetime) -> None:
    ServiceProcess.objects.create(kind=ProcessKind.BEAT, name="other:1", version=version, seen_at=seen_at)


def test_a_schedule_that_a_beat_with_other_code_can_evaluate_is_left_to_it() -> None:
    schedule = hourly()
    beat_of("other", NOON + MINUTE)
    taken_away(schedule, by_version="other")
    before = NextSlot.objects.values().get()
    reconcile()
    ServiceProcess.objects.update(seen_at=NOON + HOUR)
    ledger.record_due(NOON + HOUR)
    assert NextSlot.objects.values().get() == before
    assert not Run.objects.exists()


@pytest.mark.parametrize("version", ["", "other", "its own"])
def test_a_schedule_that_no_living_beat_can_evaluate_is_broken(version: str) -> None:
    schedule = hourly()
    beat_of("other", NOON - timedelta(minutes=5))
    taken_away(schedule, by_version=code_version() if version == "its own" else version)
    reconcile()
    row = NextSlot.objects.get()
    assert "there is no job or task" in row.broken
    assert row.version == code_version()


def test_a_schedule_that_other_code_had_marked_broken_is_repaired_and_stays_so() -> None:
    hourly()
    NextSlot.objects.update(broken="other code has no such job", slot=None, due_at=None, version="other")
    reconcile()
    row = NextSlot.objects.get()
    assert (row.broken, row.version) == ("", code_version())


def test_an_update_of_the_options_does_not_change_the_next_slot() -> None:
    schedule = hourly()
    before = NextSlot.objects.values("slot", "handled_until").get()
    PeriodicTask.objects.filter(pk=schedule.pk).update(kwargs='{"level": 2}')
    reconcile()
    assert NextSlot.objects.values("slot", "handled_until").get() == before
    assert '"level": 2' in NextSlot.objects.get().target


def test_passes_start_at_an_interval_and_advance_at_every_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SLICE_SIZE", 1)
    monkeypatch.setattr(following, "_written", lambda: None)
    monkeypatch.setattr(following, "monotonic", lambda: 0.0)
    last = [hourly(f"{number}") for number in range(3)][-1]
    reconciliation = following.Reconciliation()

    def seconds_until_seen(since: int) -> int:
        NextSlot.objects.filter(schedule=last).delete()
        for second in range(since, since + 100):
            reconciliation.advance(second)
            if NextSlot.objects.filter(schedule=last).exists():
                return second - since
        raise AssertionError("never seen")

    assert seconds_until_seen(0) == 2
    # The pass that started at 0 is complete at 3; the next one starts at 15.
    assert seconds_until_seen(3) == 15 + 2 - 3
    assert seconds_until_seen(18) == 30 + 2 - 18


def test_slices_take_only_a_small_share_of_the_time_after_the_first_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr(following, "SLICE_SIZE", 1)
    monkeypatch.setattr(following, "_written", lambda: None)
    # Each slice takes a tenth of a second.
    monkeypatch.setattr(following, "monotonic", lambda: next(seconds) / 10)
    for number in range(2):
        hourly(f"{number}")
    passes = Reconciliation()
    checked = [second for second in range(100) if passes.advance(second)]
    assert checked[:6] == [0, 1, 2, 15, 20, 25]


def test_no_pass_begins_while_nothing_is_written_but_one_does_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = [7]
    monkeypatch.setattr(following, "_written", lambda: written[0])
    passes = Reconciliation()
    assert [passes.advance(second) for second in (0, 15, 30)] == [True, False, False]
    written[0] += 1
    assert [passes.advance(second) for second in (45, 60)] == [True, False]
    quiet = range(75, 645, 15)
    assert not any(passes.advance(second) for second in quiet)
    assert passes.advance(645)


def test_the_longer_such_a_pass_takes_the_later_is_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr(following, "SLICE_SIZE", 1)
    monkeypatch.setattr(following, "_written", lambda: 7)
    # Each slice takes a second.
    monkeypatch.setattr(following, "monotonic", lambda: next(seconds))
    hourly()
    passes = Reconciliation()
    checked = [second for second in range(0, 20_000, 5) if passes.advance(second)]
    # Its two slices take one 4,000th of the 8,000 seconds until the next one.
    # Whether one is to begin is asked every 15 seconds.
    assert checked == [0, 5, 8010, 8060, 16015, 16065]


@pytest.mark.django_db(transaction=True)
def test_what_others_write_is_noticed(tmp_path: Path) -> None:
    if connection.vendor == "postgresql":
        # Whoever disconnects reports what it has counted; until then, it may do so at any moment.
        connection.close()
        with server() as other:
            wait_until(lambda: not other.sessions(), what="the other tests' connections are closed")
            assert following._written() == (before := following._written())
            other.execute(
                "INSERT INTO django_celery_beat_intervalschedule (every, period) VALUES (1, 'days')"
            )
        assert wait_until(lambda: following._written() != before)
        return
    path = str(tmp_path / "db.sqlite3")
    with in_a_file(path):
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode=WAL")
        assert following._written() == (before := following._written())
        with closing(sqlite3.connect(path)) as other_file, other_file:
            other_file.execute("CREATE TABLE written (x)")
        assert following._written() != before
        connection.close()


def test_nothing_is_known_of_a_database_in_memory() -> None:
    if connection.vendor == "sqlite":
        assert following._written() is None


def test_a_deleted_policy_is_created_again() -> None:
    hourly()
    SchedulePolicy.objects.all().delete()
    reconcile()
    assert SchedulePolicy.objects.count() == 1


def test_schedules_that_are_in_sync_are_left_alone() -> None:
    hourly()
    wound_back(PeriodicTask.objects.get(), NOON - HOUR)
    reconcile()
    assert NextSlot.objects.get().handled_until == NOON - HOUR


def test_a_pass_checks_one_slice_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "SLICE_SIZE", 2)
    for number in range(5):
        hourly(f"schedule {number}")
    CrontabSchedule.objects.update(minute="45")
    passes = Reconciliation()
    assert [passes.step() for _ in range(3)] == [False, False, True]
    assert NextSlot.objects.filter(slot=NOON + 45 * MINUTE).count() == 5


def test_a_schedule_from_a_fixture_is_synced_later(tmp_path: object) -> None:
    hourly()
    path = f"{tmp_path}/schedules.json"
    models = ["django_celery_beat.crontabschedule", "django_celery_beat.periodictask"]
    call_command("dumpdata", *models, output=path, verbosity=0)
    PeriodicTask.objects.all().delete()
    call_command("loaddata", path, verbosity=0)
    reconcile()
    assert NextSlot.objects.get().slot == NOON + HOUR


def test_an_empty_zone_breaks_only_its_own_schedule() -> None:
    odd = hourly("odd")
    good = hourly("good")
    CrontabSchedule.objects.filter(pk=odd.crontab_id).update(timezone="")
    reconcile()
    assert "the time zone is empty" in NextSlot.objects.get(schedule=odd).broken
    assert NextSlot.objects.get(schedule=good).slot == NOON + HOUR
