"""``jobledger next`` prints when schedules are due, and nothing else."""

import io
import json
import subprocess
import sys
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.models import NextSlot, Pause, SchedulePolicy
from jobledger.schedules.stored_times import CRONTAB_FIELDS
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.schedules.chains.builders import follower
from tests.unit.jobledger.schedules.stock import stock_cron
from tests.unit.jobledger.schedules.times import utc

HALF_PAST_ONE = ["--cron", "30 1 * * *", "--tz", "Europe/London"]


def scheduled(name: str, expression: str = "30 1 * * *", zone: str = "Europe/London", **values: Any) -> Any:
    times = dict(zip(CRONTAB_FIELDS, expression.split(), strict=True))
    crontab = CrontabSchedule.objects.create(**times, timezone=ZoneInfo(zone))
    return PeriodicTask.objects.create(**{"name": name, "task": "probes.probe", "crontab": crontab, **values})


def printed(*line: str) -> tuple[str, str]:
    """What it prints on stdout and on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "next", *line, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def lines(*line: str) -> list[str]:
    stdout, stderr = printed(*line)
    assert [note for note in stderr.splitlines() if not note.startswith("Note: The clock changes")] == []
    return stdout.splitlines()


def test_an_expression_needs_no_database_and_prints_a_time_per_line() -> None:
    assert lines(*HALF_PAST_ONE, "--from", "2026-10-24T00:00", "--count", "3") == [
        "2026-10-24T01:30:00+01:00",
        "2026-10-25T01:30:00+01:00",
        "2026-10-26T01:30:00+00:00",
    ]


def test_what_may_surprise_is_noted_on_stderr() -> None:
    _, notes = printed("--cron", "*/40 1 13 * fri", "--tz", "Europe/London", "--from", "2026-10-01T00:00")
    assert notes.splitlines() == [
        "Note: */40 is not every 40 minutes: it starts over every hour, at 0 and 40.",
        "Note: A day needs to match only one of day of month and weekday, since both are restricted.",
    ]
    _, notes = printed(*HALF_PAST_ONE, "--from", "2026-10-01T00:00")
    assert notes.splitlines()[0] == (
        "Note: The clock changes on 2026-10-25 in Europe/London: "
        "01:30 occurs twice: it runs the first time only."
    )


def test_a_fixed_time_in_the_gap_runs_at_its_end() -> None:
    assert lines(*HALF_PAST_ONE, "--from", "2026-03-29", "--count", "2") == [
        "2026-03-29T02:00:00+01:00",
        "2026-03-30T01:30:00+01:00",
    ]


def test_an_hourly_expression_runs_in_both_hours_of_the_fold() -> None:
    hourly = ["--cron", "30 * * * *", "--tz", "Europe/London"]
    assert lines(*hourly, "--from", "2026-10-25T01:00", "--count", "3") == [
        "2026-10-25T01:30:00+01:00",
        "2026-10-25T01:30:00+00:00",
        "2026-10-25T02:30:00+00:00",
    ]


@pytest.mark.parametrize(
    ("start", "first"),
    [("01:30", "2026-05-01T01:30:00+01:00"), ("01:30:01", "2026-05-02T01:30:00+01:00")],
)
def test_a_slot_at_the_start_time_is_included(start: str, first: str) -> None:
    assert lines(*HALF_PAST_ONE, "--from", f"2026-05-01T{start}", "--count", "1") == [first]


@time_machine.travel(utc("2026-05-01 12:00"), tick=False)
def test_the_default_is_five_from_now_in_the_projects_zone(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Kolkata"
    assert lines("--cron", "@daily") == [f"2026-05-{day:02}T00:00:00+05:30" for day in range(2, 7)]


def test_json_has_the_schedule_and_the_slot_in_the_zone_and_in_utc() -> None:
    stdout, _ = printed(*HALF_PAST_ONE, "--from", "2026-07-01", "--count", "1", "--json")
    assert json.loads(stdout) == [
        {
            "schedule": None,
            "cron": "30 1 * * *",
            "slot": "2026-07-01T01:30:00+01:00",
            "slot_utc": "2026-07-01T00:30:00+00:00",
            "moved_from": None,
        }
    ]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (["--cron", "30 25 * * *"], "--cron: hour: 25 is not between 0 and 23"),
        (["--cron", "30 1 * *"], "--cron: the expression has 4 fields, cron has 5"),
        (["--cron", ""], "--cron: the expression has 0 fields"),
        (["--cron", "0 0 30 2 *"], "--cron: day-of-month: day 30 never occurs in month 2"),
        (
            ["--cron", "@daily", "--tz", "Europe/Lodnon"],
            "--tz: time zone: 'Europe/Lodnon' is not an IANA time zone",
        ),
        (["--cron", "@daily", "--tz", ""], "--tz: time zone: '' is not an IANA time zone"),
        (["--cron", "@daily", "--from", "soon"], "--from: 'soon' is not a time"),
    ],
)
def test_an_invalid_value_is_named_and_the_exit_code_is_1(line: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=f"^{problem}") as raised:
        printed(*line)
    assert raised.value.returncode == 1


@pytest.mark.parametrize(
    "line", [["--cron", "@daily", "--count", "0"], ["nightly", "--cron", "@daily"], ["--count", "-1"]]
)
def test_an_invalid_command_line_is_rejected_by_the_parser(line: list[str]) -> None:
    with pytest.raises(CommandError, match=r"^Error: argument"):
        printed(*line)


@pytest.mark.django_db
def test_a_schedules_slots_are_shown_in_its_own_zone() -> None:
    scheduled("nightly")
    assert lines("nightly", "--from", "2026-07-01T00:00", "--count", "1") == ["2026-07-01T01:30:00+01:00"]


@pytest.mark.django_db
def test_the_same_slots_are_printed_in_another_zone() -> None:
    scheduled("nightly")
    assert lines("nightly", "--tz", "Asia/Tokyo", "--from", "2026-07-01T09:30", "--count", "1") == [
        "2026-07-01T09:30:00+09:00"
    ]


@pytest.mark.django_db
def test_a_schedule_without_a_zone_is_shown_in_the_projects(settings: Any) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    interval = IntervalSchedule.objects.create(every=1, period="hours")
    schedule = PeriodicTask.objects.create(name="hourly", task="probes.probe", interval=interval)
    SchedulePolicy.objects.filter(schedule=schedule).update(anchor=utc("2026-01-01"))
    assert lines("hourly", "--from", "2026-07-01T09:30", "--count", "1") == ["2026-07-01T10:00:00+09:00"]


@pytest.mark.django_db
def test_a_schedules_window_limits_its_slots() -> None:
    scheduled("nightly", start_time=utc("2026-07-02"), expires=utc("2026-07-04"))
    assert lines("nightly", "--from", "2026-07-01") == [
        "2026-07-02T01:30:00+01:00",
        "2026-07-03T01:30:00+01:00",
    ]


@pytest.mark.django_db
def test_all_enabled_schedules_are_merged_in_chronological_order_with_their_names() -> None:
    scheduled("b", "30 1 * * *")
    scheduled("a", "0 2 * * *", zone="UTC")
    scheduled("off", "0 1 * * *", enabled=False)
    assert lines("--from", "2026-07-01", "--count", "3") == [
        "2026-07-01T01:30:00+01:00\tb",
        "2026-07-01T02:00:00+00:00\ta",
        "2026-07-02T01:30:00+01:00\tb",
    ]


@pytest.mark.django_db
def test_json_of_all_names_the_schedules() -> None:
    scheduled("nightly")
    stdout, _ = printed("--from", "2026-07-01", "--count", "1", "--json")
    (slot,) = json.loads(stdout)
    assert (slot["schedule"], slot["cron"]) == ("nightly", None)


@pytest.mark.django_db
def test_without_any_enabled_schedule_stdout_is_empty_and_stderr_says_so() -> None:
    assert printed() == ("", "There are no enabled schedules.\n")
    assert printed("--json")[0] == "[]\n"


@pytest.mark.django_db
def test_a_disabled_schedule_has_slots_and_a_warning() -> None:
    scheduled("nightly", "30 4 * * *", enabled=False)
    stdout, stderr = printed("nightly", "--from", "2026-07-01", "--count", "1")
    assert stdout == "2026-07-01T04:30:00+01:00\n"
    assert stderr == "Schedule 'nightly' is disabled; the output assumes that it is enabled.\n"


@pytest.mark.django_db
def test_active_pauses_are_printed_on_stderr_and_do_not_change_the_slots() -> None:
    schedule, other = scheduled("nightly", "30 4 * * *"), scheduled("other")
    Pause.objects.create(schedule=schedule, until=utc("2999-01-01"), reason="move")
    Pause.objects.create(schedule=other)
    Pause.objects.create(since=utc("2026-01-01"), until=utc("2026-01-02"))
    stdout, stderr = printed("nightly", "--from", "2026-07-01", "--count", "1")
    assert stdout == "2026-07-01T04:30:00+01:00\n"
    assert stderr == "Note: nightly paused until 2999-01-01T00:00:00+00:00: move\n"
    Pause.objects.create(reason="holidays")
    assert "Note: everything paused until resumed: holidays\n" in printed("nightly")[1]
    assert printed("--cron", "@daily")[1] == ""


@pytest.mark.django_db
def test_a_pause_of_the_service_is_no_note_of_a_job_that_is_exempt(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduled("nightly", "30 4 * * *")
    Pause.objects.create(reason="holidays")
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    assert "everything paused" not in printed("nightly")[1]


@pytest.mark.django_db
def test_an_unknown_schedule_is_an_error_that_names_similar_ones() -> None:
    scheduled("nightly")
    with pytest.raises(CommandError, match=r"^There is no schedule 'nigtly'\. Similar names: nightly\.$"):
        printed("nigtly")
    with pytest.raises(CommandError, match=r"^There is no schedule 'x'\.$"):
        printed("x")


def break_times(schedule: PeriodicTask) -> None:
    CrontabSchedule.objects.filter(pk=schedule.crontab_id).update(hour="25")


def break_zone(schedule: PeriodicTask) -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_celery_beat_crontabschedule SET timezone = 'Mars/Olympus'")


def break_options(schedule: PeriodicTask) -> None:
    PeriodicTask.objects.filter(pk=schedule.pk).update(kwargs="[]")


def break_policy(schedule: PeriodicTask) -> None:
    SchedulePolicy.objects.filter(schedule=schedule).update(misfire="perhaps")


BREAKS = [
    (break_times, "hour: 25 is not between 0 and 23"),
    (break_zone, "Mars/Olympus"),
    (break_options, "kwargs: '\\[\\]' is not an object"),
    (break_policy, "misfire: 'perhaps' is none of skip, once, all"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(("breaks", "reason"), BREAKS)
def test_a_broken_schedule_is_an_error_with_its_reason(breaks: Any, reason: str, enabled: bool) -> None:
    breaks(scheduled("nightly", enabled=enabled))
    with pytest.raises(CommandError, match=f"^Schedule 'nightly' is broken: .*{reason}") as raised:
        printed("nightly")
    assert raised.value.returncode == 1


@pytest.mark.django_db
@pytest.mark.parametrize(("breaks", "reason"), BREAKS)
def test_a_broken_schedule_does_not_affect_the_others(breaks: Any, reason: str) -> None:
    breaks(scheduled("broken"))
    interval = IntervalSchedule.objects.create(every=1, period="hours")
    PeriodicTask.objects.create(name="whole", task="probes.probe", interval=interval)
    stdout, stderr = printed("--count", "1")
    assert stdout.endswith("\twhole\n")
    assert stderr.startswith("Schedule 'broken' is broken: ")


@pytest.mark.django_db
def test_a_schedule_created_without_signals_has_the_default_policy() -> None:
    schedule = scheduled("nightly")
    SchedulePolicy.objects.all().delete()
    assert lines("nightly", "--from", "2026-07-01", "--count", "1") == ["2026-07-01T01:30:00+01:00"]
    assert not SchedulePolicy.objects.filter(schedule=schedule).exists()


def test_a_closed_pipe_leaves_no_traceback() -> None:
    line = [sys.executable, "manage.py", "jobledger", "next", "--cron", "* * * * *", "--count", "1000000"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.django_db
def test_an_adopted_schedule_is_due_when_celery_says() -> None:
    stock_cron("0 3 1-7 * mon")
    assert lines("stock", "--from", "2026-03-02T04:00", "--count", "2") == [
        "2026-04-06T03:00:00+00:00",
        "2026-05-04T03:00:00+00:00",
    ]


@pytest.mark.django_db
def test_what_starts_after_others_has_no_times_and_is_named() -> None:
    scheduled("first")
    follower("first", since=utc("2026-03-02 00:00"), name="then")
    note = "Schedule 'then' starts after first has succeeded, and has no times of its own."
    assert printed("then") == ("", f"{note}\n")
    PeriodicTask.objects.filter(name="first").update(enabled=False)
    assert printed("then") == ("", f"{note}\nIt does not start: first is disabled.\n")
    PeriodicTask.objects.filter(name="first").update(enabled=True)
    stdout, stderr = printed("--count", "1")
    assert (stdout.count("\n"), note in stderr) == (1, True)
    simulated = io.StringIO()
    span = ["--from", "2026-03-02", "--to", "2026-03-03"]
    call_command("jobledger", "simulate", "then", *span, stdout=io.StringIO(), stderr=simulated)
    assert note in simulated.getvalue()


@pytest.mark.django_db
@time_machine.travel(utc("2026-03-02 12:00"), tick=False)
def test_what_was_due_before_the_clock_was_set_back_is_not_promised() -> None:
    schedule = scheduled("hourly", "0 * * * *", zone="UTC")
    NextSlot.objects.filter(pk=schedule.pk).update(handled_until=utc("2026-03-02 14:00"))
    stdout, stderr = printed("hourly", "--count", "1")
    assert stdout == "2026-03-02T15:00:00+00:00\n"
    assert "The database's clock was set back: some schedules start nothing until" in stderr
    assert lines("hourly", "--from", "2026-03-02T12:30", "--count", "1") == ["2026-03-02T13:00:00+00:00"]


@pytest.mark.django_db
@time_machine.travel(utc("2026-03-02 12:00"), tick=False)
def test_a_schedule_that_is_never_due_again_has_a_note() -> None:
    scheduled("over", zone="UTC", expires=utc("2026-03-02 11:00"))
    assert printed("over") == ("", "'over' does not run: it is never due from then on.\n")
