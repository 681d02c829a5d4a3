"""Backfills run each of their slots once, oldest first, and keep out of the way of everything else."""

from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.declaration import Concurrency, PausedSlots
from jobledger.models import (
    Alert,
    Backfill,
    BackfillSlot,
    Pause,
    Run,
    SchedulePolicy,
    Status,
    Trigger,
)
from jobledger.runs import attempts, dispatch
from jobledger.runs.execution import runner
from jobledger.runs.lease import rescue
from jobledger.runs.outcome import SUCCESS
from jobledger.schedules import pausing
from jobledger.schedules.backfills import backfilling
from jobledger.schedules.backfills.backfilling import LOOK_EVERY, Terms
from jobledger.schedules.backfills.past_slots import BackfillError
from jobledger.schedules.backfills.progress import Progress, progress_of
from jobledger.schedules.due import slot_runs
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.alerts.builders import CANCELLED, CRASH, LOST, destination, rule
from tests.unit.jobledger.schedules.builders import NOON, hourly
from tests.unit.side_by_side import side_by_side

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)
NINE, TEN, ELEVEN = (NOON - hours * HOUR for hours in (3, 2, 1))
NOW = NOON + timedelta(minutes=1)


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture(autouse=True)
def unpublished(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message leaves this process."""
    monkeypatch.setattr("jobledger.runs.publishing.publisher.try_to_publish", lambda runs: None)


@pytest.fixture
def schedule() -> PeriodicTask:
    return hourly(handled_until=NOON)


def start(schedule: PeriodicTask, since: datetime = NINE, until: datetime = NOON, **values: Any) -> Backfill:
    terms = Terms(since=since, until=until, trigger=Trigger.CLI, username="ann", **values)
    return backfilling.start(schedule, terms, now=NOW)


def advance() -> list[datetime | None]:
    """The slots of the runs that beat starts when it looks again."""
    Backfill.objects.filter(ended_at=None).update(look_at=NOW)
    return [run.scheduled_for for run in backfilling.advance(NOW)]


def slots() -> list[datetime | None]:
    """The slots of the backfills' runs."""
    runs = Run.objects.filter(trigger=Trigger.BACKFILL).order_by("scheduled_for")
    return list(runs.values_list("scheduled_for", flat=True))


def live() -> Run:
    return Run.objects.get(trigger=Trigger.BACKFILL, status__in=(Status.QUEUED, Status.RUNNING))


def execute() -> Run:
    """Execute the run that is queued, as a worker would."""
    ended = runner.execute(live().pk, worker="w")
    assert ended is not None
    return ended.run


def end(run: Run, outcome: Any = SUCCESS) -> None:
    Run.objects.filter(pk=run.pk).update(status=Status.RUNNING, started_at=NOW)
    run.refresh_from_db()
    assert attempts.end(run, outcome)


def progress(backfill: Backfill) -> Progress:
    return progress_of([backfill])[backfill.pk]


def test_each_slot_gets_a_run_oldest_first_and_one_after_the_other(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    for slot in NINE, TEN, ELEVEN:
        assert advance() == [slot]
        assert advance() == []
        assert execute().status == Status.SUCCEEDED
    assert advance() == []
    backfill.refresh_from_db()
    assert (backfill.ended_at, backfill.look_at) == (NOW, None)
    assert (progress(backfill).succeeded, progress(backfill).total) == (3, 3)


def test_a_run_has_what_the_schedule_starts_and_knows_its_slot(schedule: PeriodicTask) -> None:
    schedule.kwargs, schedule.queue = '{"show_slot": true}', "slow"
    schedule.expire_seconds = 5
    schedule.save()
    SchedulePolicy.objects.update(starting_deadline=timedelta(minutes=5))
    start(schedule)
    advance()
    run = live()
    assert (run.schedule, run.schedule_name, run.routing) == (schedule, "hourly", {"queue": "slow"})
    assert (run.username, run.start_before) == ("ann", None)
    assert execute().status == Status.SUCCEEDED
    assert run.output.get().text == f"slot {NINE.isoformat()}\n"


def edited(schedule: PeriodicTask, task: str, kwargs: str = "{}") -> None:
    fresh = PeriodicTask.objects.get(pk=schedule.pk)
    fresh.task, fresh.kwargs = task, kwargs
    fresh.save()


@pytest.mark.parametrize("task", ["probes.probe", "probes.choosing", "add everything!", "nobody.knows"])
def test_an_edit_of_the_schedule_does_not_change_what_the_remaining_runs_start(
    schedule: PeriodicTask, task: str
) -> None:
    edited(schedule, "probes.probe", '{"show_slot": true}')
    schedule.refresh_from_db()
    backfill = start(schedule)
    advance()
    execute()
    edited(schedule, task, '{"show_slot": false}')
    for slot in TEN, ELEVEN:
        assert advance() == [slot]
        assert execute().status == Status.SUCCEEDED
    found = Run.objects.filter(trigger=Trigger.BACKFILL).values_list("job", "options")
    assert list(found) == [("probe", {"show_slot": True})] * 3
    advance()
    assert progress(backfill).succeeded == 3


def test_it_waits_for_the_runs_of_the_job_that_its_own_start_after_the_schedule_got_another_one(
    schedule: PeriodicTask,
) -> None:
    backfill = start(schedule)
    edited(schedule, "probes.allowing")
    Run.objects.create(job="allowing", trigger=Trigger.SCHEDULE, status=Status.RUNNING)
    assert backfilling.why_waiting(backfill, NOW) == ""
    Run.objects.create(job="probe", trigger=Trigger.CLI, status=Status.RUNNING, concurrency_key="probe")
    assert "of the same job is running" in backfilling.why_waiting(backfill, NOW)
    assert advance() == []


def test_a_run_of_the_schedules_new_job_does_not_take_the_place_of_one_of_the_backfill(
    schedule: PeriodicTask,
) -> None:
    start(schedule)
    edited(schedule, "probes.allowing")
    Run.objects.create(
        job="allowing",
        schedule=schedule,
        scheduled_for=NINE,
        status=Status.SUCCEEDED,
        trigger=Trigger.SCHEDULE,
    )
    assert advance() == [NINE]


def test_it_waits_if_its_job_does_not_exist_any_more_and_if_its_schedule_has_no_valid_queue(
    schedule: PeriodicTask,
) -> None:
    backfill = start(schedule)
    Backfill.objects.update(job="removed")
    assert advance() == []
    backfill.refresh_from_db()
    assert backfilling.why_waiting(backfill, NOW) == "there is no job removed any more"
    Backfill.objects.update(job="probe")
    PeriodicTask.objects.update(queue="no such\nqueue")
    assert advance() == []
    backfill.refresh_from_db()
    assert "schedule 'hourly' is broken: " in backfilling.why_waiting(backfill, NOW)


def test_a_run_has_the_time_limit_of_the_schedule(schedule: PeriodicTask) -> None:
    SchedulePolicy.objects.update(time_limit=timedelta(hours=1), time_limit_grace=timedelta(0))
    start(schedule)
    advance()
    assert (live().time_limit, live().time_limit_grace) == (timedelta(hours=1), timedelta(0))


def test_the_jobs_that_a_composite_calls_have_its_slot(schedule: PeriodicTask) -> None:
    schedule.kwargs = '{"child": "x"}'
    schedule.save()
    start(schedule)
    advance()
    run = execute()
    assert Run.objects.get(parent=run).scheduled_for == NINE


def test_more_runs_may_be_live_at_once_if_the_job_may_overlap(schedule: PeriodicTask) -> None:
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW)
    start(schedule, parallel=2)
    assert advance() == [NINE, TEN]
    assert advance() == []
    end(Run.objects.get(scheduled_for=TEN))
    assert advance() == [ELEVEN]


def test_runs_of_a_job_that_must_not_overlap_are_not_made_to_wait_for_each_other(
    schedule: PeriodicTask,
) -> None:
    start(schedule, parallel=5)
    assert advance() == [NINE]


def test_a_slot_that_failed_before_gets_another_run(schedule: PeriodicTask) -> None:
    failed = Run.objects.create(
        pk=slot_runs.run_id(schedule.pk, NINE),
        job="probe",
        trigger=Trigger.SCHEDULE,
        schedule=schedule,
        scheduled_for=NINE,
        queued_at=NINE,
        status=Status.FAILED,
    )
    backfill = start(schedule)
    assert advance() == [NINE]
    failed.refresh_from_db()
    assert failed.status == Status.FAILED
    assert backfill.left_out == 0


def test_slots_that_need_no_run_are_left_out_and_counted(schedule: PeriodicTask) -> None:
    start(schedule)
    advance()
    execute()
    backfilling.cancel(Backfill.objects.get(), trigger=Trigger.CLI, username="bob", now=NOW)
    advance()
    again = start(schedule)
    assert again.left_out == 1
    assert advance() == [TEN]


def test_there_must_be_something_to_run(schedule: PeriodicTask) -> None:
    Run.objects.create(
        job="probe", schedule=schedule, scheduled_for=NINE, status=Status.SUCCEEDED, trigger=Trigger.SCHEDULE
    )
    with pytest.raises(BackfillError, match="nothing to run"):
        start(schedule, until=TEN)


def test_a_schedule_has_one_unfinished_backfill(schedule: PeriodicTask) -> None:
    first = start(schedule)
    with pytest.raises(BackfillError, match=f"already has an unfinished backfill: {first.pk}"):
        start(schedule)
    start(hourly("other", handled_until=NOON))
    assert BackfillSlot.objects.filter(backfill=first).count() == 3
    Backfill.objects.update(ended_at=NOW)
    start(schedule)


def test_a_run_that_fails_does_not_stop_the_others(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    advance()
    end(live(), CRASH)
    assert advance() == [TEN]
    assert (progress(backfill).failed, progress(backfill).live, progress(backfill).without_run) == (1, 1, 1)


def test_a_run_that_is_to_be_retried_is_waited_for(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.probes.management.commands.probe.Command.max_retries", 1)
    start(schedule)
    advance()
    end(live(), CRASH)
    assert advance() == []
    assert (live().attempt, live().scheduled_for) == (2, NINE)
    end(live())
    assert advance() == [TEN]


def test_a_run_whose_worker_died_is_over_once_it_is_found_to_be_lost(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    advance()
    run = live()
    Run.objects.filter(pk=run.pk).update(status=Status.RUNNING, started_at=NOW, heartbeat_at=NOW)
    run.refresh_from_db()
    assert advance() == []
    assert rescue.give_up(run, LOST.why)
    assert advance() == [TEN]
    assert progress(backfill).failed == 1


def test_the_end_of_a_run_makes_beat_look_at_once(
    schedule: PeriodicTask, django_capture_on_commit_callbacks: Any
) -> None:
    backfill = start(schedule)
    advance()
    backfill.refresh_from_db()
    assert backfill.look_at == NOW + LOOK_EVERY
    with django_capture_on_commit_callbacks(execute=True):
        execute()
    backfill.refresh_from_db()
    assert backfill.look_at == NOW


def test_the_end_of_any_other_run_does_not_look_for_a_backfill(
    schedule: PeriodicTask, django_capture_on_commit_callbacks: Any
) -> None:
    start(schedule)
    run = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, status=Status.RUNNING, started_at=NOW)
    with CaptureQueriesContext(connection) as statements, django_capture_on_commit_callbacks(execute=True):
        attempts.end(run, SUCCESS)
    assert not any(Backfill._meta.db_table in statement["sql"] for statement in statements)


def test_what_dies_between_its_steps_neither_loses_nor_doubles_a_slot(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(schedule)
    with monkeypatch.context() as patched:
        patched.setattr(Run.objects, "bulk_create", _die)
        assert advance() == []
    assert slots() == []
    assert advance() == [NINE]
    assert slots() == [NINE]


def _die(*args: object, **kwargs: object) -> None:
    raise RuntimeError("killed")


@pytest.mark.django_db(transaction=True)
def test_of_several_beats_one_starts_a_slot(schedule: PeriodicTask, tmp_path: Path) -> None:
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW)
    start(schedule, parallel=2)
    with side_by_side(tmp_path) as threads:
        threads.call([partial(backfilling.advance, NOW)] * 4)
        assert slots() == [NINE, TEN]


def test_a_backfill_that_cannot_be_looked_at_does_not_stop_the_others(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = start(schedule)
    note_outcomes = backfilling._note_outcomes

    def fails_for_one(backfill: Backfill) -> int:
        if backfill == broken:
            raise ValueError("cannot be looked at")
        return note_outcomes(backfill)

    monkeypatch.setattr(backfilling, "_note_outcomes", fails_for_one)
    start(hourly("other", handled_until=NOON))
    assert advance() == [NINE]


def test_a_cancelled_backfill_starts_nothing_more_and_ends_with_its_last_run(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    advance()
    Run.objects.update(status=Status.RUNNING)
    assert backfilling.cancel(backfill, trigger=Trigger.ADMIN, username="bob", now=NOW)
    assert not backfilling.cancel(backfill, trigger=Trigger.ADMIN, username="bob", now=NOW)
    run = live()
    assert (run.cancel_requested_at, run.reason_details["user"]) == (NOW, "bob")
    assert advance() == []
    backfill.refresh_from_db()
    assert (backfill.ended_at, backfill.cancelled_by) == (None, "bob")
    Run.objects.update(status=Status.CANCELLED)
    advance()
    backfill.refresh_from_db()
    assert backfill.ended_at == NOW
    assert (slots(), progress(backfill).without_run) == ([NINE], 2)


def test_cancelling_cancels_what_is_queued_at_once(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    advance()
    backfilling.cancel(backfill, trigger=Trigger.CLI, username="bob", now=NOW)
    assert Run.objects.get().status == Status.CANCELLED


def test_a_deleted_schedule_ends_its_backfill(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    advance()
    schedule.delete()
    end(live())
    assert advance() == []
    backfill.refresh_from_db()
    assert (backfill.ended_at, backfill.schedule_name) == (NOW, "hourly")


def test_so_does_one_that_was_deleted_with_sql(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    Backfill.objects.update(schedule=schedule.pk + 1)
    assert advance() == []
    backfill.refresh_from_db()
    assert backfill.ended_at == NOW


def test_a_run_that_was_deleted_is_not_started_again(schedule: PeriodicTask) -> None:
    start(schedule)
    advance()
    Run.objects.all().delete()
    assert advance() == [TEN]


@pytest.mark.parametrize("is_service_wide", [True, False])
def test_it_waits_for_the_end_of_a_pause(schedule: PeriodicTask, *, is_service_wide: bool) -> None:
    backfill = start(schedule)
    terms = pausing.Terms(until=None, reason="moving", on_resume=PausedSlots.SKIP)
    paused = None if is_service_wide else schedule
    pausing.pause(paused, terms, now=NOW - HOUR)
    assert advance() == []
    assert "is paused until resumed: moving" in backfilling.why_waiting(backfill, NOW)
    Pause.objects.update(until=NOW)
    assert advance() == [NINE]


def test_a_job_that_is_exempt_from_the_services_pauses_does_not_wait_for_their_end(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.probes.management.commands.probe.Command.runs_while_paused", True)
    pausing.pause(None, pausing.Terms(until=None), now=NOW - HOUR)
    start(schedule)
    assert advance() == [NINE]


def test_a_disabled_schedule_can_be_backfilled(schedule: PeriodicTask) -> None:
    schedule.enabled = False
    schedule.save()
    start(schedule)
    assert advance() == [NINE]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.RUNNING])
def test_it_waits_while_another_run_of_a_job_that_must_not_overlap_is_live(
    schedule: PeriodicTask, status: Status
) -> None:
    key = "probe" if status is Status.RUNNING else ""
    other = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, status=status, concurrency_key=key)
    backfill = start(schedule)
    assert advance() == []
    assert f"run {other.short_id} of the same job" in backfilling.why_waiting(backfill, NOW)
    Run.objects.update(status=Status.SUCCEEDED)
    assert advance() == [NINE]


def test_of_a_long_queue_only_the_newest_are_looked_at(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beat looks every few seconds. A run that was queued before them all starts before the backfill's."""
    monkeypatch.setattr(backfilling, "QUEUED_LOOKED_AT", 2)
    Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, queued_at=NINE)
    for minutes in (1, 2):
        Run.objects.create(job="lasting", trigger=Trigger.API, queued_at=NINE + timedelta(minutes=minutes))
    backfill = start(schedule)
    assert backfilling.why_waiting(backfill, NOW) == ""
    newer = Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, queued_at=TEN)
    assert f"run {newer.short_id} of the same job" in backfilling.why_waiting(backfill, NOW)


def test_it_waits_while_nobody_knows_with_what_its_runs_must_not_overlap(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    backfill = start(schedule)
    with monkeypatch.context() as patch:
        patch.setattr(Probe, "concurrency_key", lambda options: options["shop"])
        assert backfilling.runs_alone(schedule)
        assert advance() == []
        assert backfilling.why_waiting(backfill, NOON).endswith("has raised KeyError: 'shop'")
    assert advance() == [NINE]


def test_it_does_not_wait_for_a_run_that_is_going_to_fail_for_want_of_its_key(
    schedule: PeriodicTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Probe, "concurrency_key", lambda options: options["words"][0])
    Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, options={})
    PeriodicTask.objects.update(kwargs='{"words": ["here"]}')
    schedule.refresh_from_db()
    start(schedule)
    assert advance() == [NINE]


def test_it_does_not_wait_for_a_retry_that_starts_later(schedule: PeriodicTask) -> None:
    Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, start_after=NOW + HOUR)
    start(schedule)
    assert advance() == [NINE]


def test_it_does_not_wait_if_the_job_may_overlap(schedule: PeriodicTask) -> None:
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW)
    Run.objects.create(job="probe", trigger=Trigger.SCHEDULE, status=Status.RUNNING)
    start(schedule)
    assert advance() == [NINE]


def test_a_slot_that_a_user_has_run_again_in_the_meantime_is_left_out(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    again = Run.objects.create(
        job="probe",
        schedule_name="hourly",
        scheduled_for=NINE,
        trigger=Trigger.ADMIN,
        status=Status.SUCCEEDED,
    )
    assert advance() == [TEN]
    assert progress(backfill).done == 1
    Run.objects.filter(pk=again.pk).update(scheduled_for=ELEVEN, status=Status.RUNNING)
    end(Run.objects.get(trigger=Trigger.BACKFILL))
    assert advance() == []
    Run.objects.filter(pk=again.pk).update(status=Status.FAILED)
    assert advance() == [ELEVEN]


def test_a_run_that_is_repeated_by_hand_belongs_to_no_backfill(schedule: PeriodicTask) -> None:
    backfill = start(schedule)
    advance()
    run = execute()
    assert backfilling.backfill_of(run) == backfill
    assert backfilling.backfill_of(dispatch.run_again(run, trigger=Trigger.CLI, username="")) is None


def test_a_backfill_that_fails_is_a_single_alert(schedule: PeriodicTask) -> None:
    rule(destination())
    backfill = start(schedule)
    SchedulePolicy.objects.update(pause_after_failures=1)
    for outcome in CRASH, CANCELLED, SUCCESS:
        advance()
        end(live(), outcome)
    assert not Alert.objects.exists()
    advance()
    alert = Alert.objects.get()
    first = Run.objects.get(scheduled_for=NINE)
    assert (alert.kind, alert.run, alert.schedule) == ("failed", first, schedule)
    assert alert.details == {"backfill": backfill.pk, "failed": 2, "of": 3}
    assert not Pause.objects.exists()


def test_a_backfill_that_succeeds_or_is_cancelled_is_none(schedule: PeriodicTask) -> None:
    rule(destination())
    start(schedule, until=TEN)
    advance()
    end(live())
    advance()
    backfill = start(schedule)
    advance()
    end(live(), CRASH)
    backfilling.cancel(backfill, trigger=Trigger.CLI, username="bob", now=NOW)
    advance()
    assert not Backfill.objects.filter(ended_at=None).exists()
    assert not Alert.objects.exists()
