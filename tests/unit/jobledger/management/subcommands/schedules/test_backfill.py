"""``jobledger backfill`` runs past slots, after saying which; lists backfills, and cancels them."""

import io
import json
import sys
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.jobs.declaration import Concurrency
from jobledger.management.subcommands.schedules import backfill as subcommand
from jobledger.models import AuditEntry, Backfill, BackfillSlot, Run, SchedulePolicy, Status, Trigger
from jobledger.schedules.audit import command_line_user
from jobledger.schedules.backfills import backfilling
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

MORNING = ["hourly", "--from", "2026-03-02T09:00", "--to", "2026-03-02T12:00"]


@pytest.fixture(autouse=True)
def clock() -> Any:
    with time_machine.travel(NOON.replace(minute=1), tick=False):
        yield


@pytest.fixture(autouse=True)
def schedule() -> PeriodicTask:
    return hourly(handled_until=NOON)


def printed(*line: str) -> tuple[str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "backfill", *line, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def error_of(*line: str) -> str:
    with pytest.raises(CommandError) as caught:
        printed(*line)
    assert caught.value.returncode == 2
    return str(caught.value)


def succeeded_at_ten(schedule: PeriodicTask) -> Run:
    ten = NOON.replace(hour=10)
    return Run.objects.create(
        job="probe", schedule=schedule, scheduled_for=ten, trigger=Trigger.SCHEDULE, status=Status.SUCCEEDED
    )


def test_it_starts_what_has_not_succeeded(schedule: PeriodicTask) -> None:
    succeeded_at_ten(schedule)
    stdout, stderr = printed(*MORNING)
    found = Backfill.objects.get()
    assert stdout == f"Started backfill {found.pk}: 2 runs; 1 slot left out.\n"
    assert stderr == ""
    assert sorted(slot.scheduled_for.hour for slot in BackfillSlot.objects.all()) == [9, 11]
    assert (found.trigger, found.parallel, found.look_at) == ("cli", 1, NOON.replace(minute=1))


def test_it_does_not_claim_that_nothing_was_started_because_nothing_can_be_printed() -> None:
    with Path("/dev/full").open("w") as stdout, pytest.raises(CommandError) as caught:
        call_command("jobledger", "backfill", *MORNING, stdout=stdout)
    assert (Backfill.objects.count(), caught.value.returncode) == (1, 1)


def test_a_dry_run_prints_each_slot_and_starts_nothing(schedule: PeriodicTask) -> None:
    run = succeeded_at_ten(schedule)
    stdout, stderr = printed(*MORNING, "--dry-run")
    assert stdout.splitlines() == [
        "2026-03-02T09:00:00+00:00\trun\tno run on record",
        f"2026-03-02T10:00:00+00:00\tleft out\trun {run.short_id} has succeeded",
        "2026-03-02T11:00:00+00:00\trun\tno run on record",
    ]
    assert stderr == "2 runs would start; 1 left out.\n"
    assert not Backfill.objects.exists()


def test_a_dry_run_as_json(schedule: PeriodicTask) -> None:
    run = succeeded_at_ten(schedule)
    slots = json.loads(printed(*MORNING, "--dry-run", "--json")[0])
    assert [each["decision"] for each in slots] == ["run", "succeeded", "run"]
    assert slots[1] == {
        "slot": "2026-03-02T10:00:00+00:00",
        "decision": "succeeded",
        "run": str(run.pk),
        "status": "succeeded",
        "difference": None,
    }


def test_times_without_an_offset_are_in_the_schedules_zone(schedule: PeriodicTask) -> None:
    schedule.crontab.timezone = "Europe/Berlin"
    schedule.crontab.save()
    stdout, _ = printed("hourly", "--from", "2026-03-02T09:00", "--to", "2026-03-02T10:00", "--dry-run")
    assert stdout.splitlines() == ["2026-03-02T09:00:00+01:00\trun\tno run on record"]
    stdout, _ = printed(*MORNING, "--tz", "UTC", "--dry-run")
    assert stdout.splitlines()[0].startswith("2026-03-02T09:00:00+00:00")


def test_the_range_ends_now_by_default() -> None:
    stdout, _ = printed("hourly", "--from", "2026-03-02T11:00", "--dry-run")
    assert [line[11:16] for line in stdout.splitlines()] == ["11:00", "12:00"]


def test_slots_that_may_have_succeeded_and_those_that_another_run_stands_for_are_mentioned(
    schedule: PeriodicTask,
) -> None:
    assert "24 slots may have succeeded" in printed("hourly", "--from", "2026-01-30T12:01", "--dry-run")[1]
    run = succeeded_at_ten(schedule)
    Run.objects.filter(pk=run.pk).update(coalesced=1)
    stderr = printed(*MORNING, "--dry-run")[1]
    assert "1 slot left out because another run stands for it; see --covered." in stderr
    assert "stands for it" not in printed(*MORNING, "--dry-run", "--covered")[1]


def test_a_plain_command_works_on_no_slot(schedule: PeriodicTask) -> None:
    schedule.task = "probes.plain_probe"
    schedule.save()
    assert "the job is a plain command" in printed(*MORNING, "--dry-run")[1]


def test_what_was_started_as_json() -> None:
    printed_json = json.loads(printed(*MORNING, "--json")[0])
    assert printed_json["id"] == Backfill.objects.get().pk
    assert (printed_json["status"], printed_json["slots"]) == ("running", 3)
    assert printed_json["counts"] == {"waiting": 3}


def test_it_says_why_it_waits_and_that_runs_will_not_overlap(schedule: PeriodicTask) -> None:
    call_command("jobledger", "pause", "hourly", "--for", "2h", stdout=io.StringIO())
    _, stderr = printed(*MORNING, "--parallel", "3")
    assert "Runs of probe must not overlap, so they start one after the other." in stderr
    assert "It waits: its schedule is paused" in stderr


def test_jobs_that_may_overlap_run_side_by_side() -> None:
    SchedulePolicy.objects.update(concurrency=Concurrency.ALLOW)
    _, stderr = printed(*MORNING, "--parallel", "3")
    assert (Backfill.objects.get().parallel, stderr) == (3, "")


def test_runs_for_times_of_another_timing_are_mentioned(schedule: PeriodicTask) -> None:
    Run.objects.create(
        job="probe",
        schedule=schedule,
        scheduled_for=NOON.replace(hour=10, minute=30),
        trigger=Trigger.SCHEDULE,
        status=Status.SUCCEEDED,
    )
    assert "1 run on record for other times in this range" in printed(*MORNING, "--dry-run")[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["nobody", "--from", "2026-03-02"], "There is no schedule 'nobody'"),
        (["hourly"], "give the schedule's name and --from"),
        ([], "give the schedule's name and --from"),
        (["hourly", "--from", "yesterday"], "--from: 'yesterday' is not a time"),
        (["hourly", "--from", "2026-03-03"], "--from: the range must start in the past"),
        (["hourly", "--from", "2026-03-02T10:00", "--to", "2026-03-02T09:00"], "--to: the range ends before"),
        (["hourly", "--from", "2026-03-01", "--to", "2026-03-04"], "--to: the range must end in the past"),
        (
            ["hourly", "--from", "2026-03-02T11:01", "--to", "2026-03-02T11:02"],
            "--from: schedule 'hourly' has no",
        ),
        (["hourly", "--from", "2020-01-01"], "the range has more than 10,000 slots"),
        (["hourly", "--from", "2020-01-01", "--to", "2026-01-01"], "--to: the range has more than 10,000"),
        (["hurly", "--list"], "There is no schedule 'hurly'. Similar names: hourly."),
        ([*MORNING, "--parallel", "101"], "--parallel: 101 is more than 100"),
        (["--cancel", "x"], "there is no backfill 'x'"),
    ],
)
def test_what_cannot_be_started_ends_with_2(line: list[str], message: str) -> None:
    text = error_of(*line)
    assert message in text
    assert ("--to" in text) == ("--to" in message)
    assert not Backfill.objects.exists()


def test_many_runs_need_a_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subcommand, "STARTED_AT_ONCE", 2)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert error_of(*MORNING) == "3 runs would start; nothing was started. Confirm that with --yes"
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    for answer, count in ("", 0), ("n", 0), ("y", 1):
        monkeypatch.setattr("builtins.input", lambda answer=answer: answer)
        if count:
            printed(*MORNING)
        else:
            assert error_of(*MORNING) == "nothing was started"
        assert Backfill.objects.count() == count


def test_yes_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subcommand, "STARTED_AT_ONCE", 2)
    printed(*MORNING, "--yes")
    assert Backfill.objects.count() == 1


def test_backfills_are_listed_with_their_progress(schedule: PeriodicTask) -> None:
    printed(*MORNING)
    first = Backfill.objects.get()
    BackfillSlot.objects.filter(scheduled_for__hour=9).update(outcome=Status.FAILED)
    now = NOON.replace(minute=1)
    [run] = backfilling.advance(now)
    (line,) = printed("--list")[0].splitlines()
    assert line.split("\t") == [
        str(first.pk),
        "hourly",
        "2026-03-02 09:00:00 UTC",
        "2026-03-02 12:00:00 UTC",
        "running",
        "1 of 3 done: 1 failed; 1 queued, 1 waiting",
    ]
    run.delete()
    Backfill.objects.update(ended_at=now, look_at=None)
    [as_json] = json.loads(printed("hourly", "--list", "--json")[0])
    assert (as_json["status"], as_json["ended_at"]) == ("cancelled", "2026-03-02T12:01:00+00:00")
    hourly("other")
    assert json.loads(printed("other", "--list", "--json")[0]) == []


def test_backfills_are_listed_by_every_name_of_their_schedule(schedule: PeriodicTask) -> None:
    printed(*MORNING)
    PeriodicTask.objects.update(name="renamed")
    for name in "hourly", "renamed":
        assert len(printed(name, "--list")[0].splitlines()) == 1
    Backfill.objects.update(schedule=None)
    assert len(printed("hourly", "--list")[0].splitlines()) == 1


def test_the_times_of_backfills_are_listed_in_the_zone_of_their_schedules() -> None:
    london = CrontabSchedule.objects.create(minute="40", hour="*", timezone=ZoneInfo("Europe/London"))
    PeriodicTask.objects.create(name="london", task="probes.probe", crontab=london)
    printed("london", "--from", "2025-06-01T00:30", "--to", "2025-06-01T02:00")
    assert "\t2025-06-01 00:30:00 BST\t2025-06-01 02:00:00 BST\t" in printed("--list")[0]


def test_a_backfill_can_be_cancelled_once() -> None:
    printed(*MORNING)
    found = Backfill.objects.get()
    assert "was cancelled" in printed("--cancel", str(found.pk))[0]
    found.refresh_from_db()
    assert found.cancelled_at == NOON.replace(minute=1)
    assert "was already cancelled" in error_of("--cancel", str(found.pk))
    backfilling.advance(NOON.replace(minute=1))
    assert printed("--list")[0].split("\t")[4] == "cancelled"


def test_what_a_cancelled_backfill_has_not_run_is_not_waiting(schedule: PeriodicTask) -> None:
    printed(*MORNING)
    printed("--cancel", str(Backfill.objects.get().pk))
    assert printed("--list")[0].rstrip().split("\t")[5] == "0 of 3 done; 3 not run"
    assert json.loads(printed("--list", "--json")[0])[0]["counts"] == {"not_run": 3}
    Backfill.objects.update(cancelled_at=None, schedule=None)
    assert printed("--list")[0].rstrip().split("\t")[5] == "0 of 3 done; 3 not run"


def test_starting_and_cancelling_are_in_the_audit_log_of_the_schedule_and_of_the_backfill(
    schedule: PeriodicTask,
) -> None:
    printed(*MORNING)
    found = Backfill.objects.get()
    printed("--cancel", str(found.pk))
    texts = [f"Started backfill {found.pk}: 3 runs.", f"Cancelled backfill {found.pk}."]
    for target in schedule, found:
        entries = AuditEntry.objects.filter(
            object_type=target._meta.label_lower, object_id=str(target.pk)
        ).order_by("pk")
        assert [entry.text for entry in entries] == texts
        assert {entry.username for entry in entries} == {command_line_user()}


def test_what_was_not_started_is_not_in_the_audit_log() -> None:
    printed(*MORNING)
    AuditEntry.objects.all().delete()
    error_of(*MORNING)
    printed(*MORNING, "--dry-run")
    assert not AuditEntry.objects.exists()


def test_a_second_one_of_the_same_schedule_is_refused() -> None:
    printed(*MORNING)
    assert "already has an unfinished backfill" in error_of(*MORNING)
