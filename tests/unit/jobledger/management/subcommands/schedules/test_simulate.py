"""``jobledger simulate`` replays a period with the stored policies and pauses."""

import io
import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.models import Pause, SchedulePolicy
from jobledger.schedules import stored_schedules
from tests.unit.builders import output_of
from tests.unit.jobledger.schedules.stock import stock_cron
from tests.unit.jobledger.schedules.times import utc

HOURLY = ["--cron", "0 * * * *"]
MORNING = ["--from", "2026-05-01T00:00", "--to", "2026-05-01T05:00"]
DOWN = ["--downtime", "2026-05-01T00:30/2026-05-01T03:30"]


def scheduled(name: str, minute: str = "0", hour: str = "*", zone: str = "UTC", **values: Any) -> Any:
    crontab = CrontabSchedule.objects.create(minute=minute, hour=hour, timezone=ZoneInfo(zone))
    return PeriodicTask.objects.create(**{"name": name, "task": "probes.probe", "crontab": crontab, **values})


def printed(*line: str) -> tuple[str, str]:
    """What it prints on stdout and on stderr."""
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", "simulate", *line, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def verdicts(*line: str) -> list[str]:
    """Each slot's hour and verdict."""
    rows = [text.split("\t") for text in printed(*line)[0].splitlines()]
    return [f"{row[0][11:16]} {row[1]}" for row in rows]


def test_a_line_has_the_slot_the_verdict_the_start_the_schedule_and_the_reason() -> None:
    stdout, _ = printed(*HOURLY, *MORNING, *DOWN)
    assert [line.split("\t") for line in stdout.splitlines()][2:4] == [
        [
            "2026-05-01T02:00:00+00:00",
            "missed",
            "-",
            "0 * * * *",
            (
                "beat was not running at 2026-05-01 02:00:00 UTC; "
                "the run due at 2026-05-01 03:00:00 UTC covers all missed runs"
            ),
        ],
        [
            "2026-05-01T03:00:00+00:00",
            "run",
            "2026-05-01T03:30:00+00:00",
            "0 * * * *",
            "catching up after beat was not running",
        ],
    ]


def test_the_period_includes_its_start_but_not_its_end() -> None:
    assert verdicts(*HOURLY, *MORNING) == [f"0{hour}:00 run" for hour in range(5)]


def test_the_summary_is_printed_on_stderr() -> None:
    assert printed(*HOURLY, *MORNING, *DOWN)[1] == "5 slots: 2 missed, 3 run\n"
    assert printed("--cron", "@yearly", *MORNING)[1] == "0 slots\n"


def test_there_may_be_several_downtimes() -> None:
    second = ["--downtime", "2026-05-01T03:45/2026-05-01T04:50"]
    assert verdicts(*HOURLY, *MORNING, *DOWN, *second) == [
        "00:00 run",
        "01:00 missed",
        "02:00 missed",
        "03:00 run",
        "04:00 run",
    ]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (["--misfire", "once"], ["missed", "missed", "run"]),
        (["--misfire", "skip"], ["missed", "missed", "missed"]),
        (["--misfire", "all"], ["run", "run", "run"]),
        (["--misfire", "all", "--starting-deadline", "2h"], ["missed", "run", "run"]),
    ],
)
def test_late_slots_follow_the_given_policy(policy: list[str], expected: list[str]) -> None:
    found = [each.split()[1] for each in verdicts(*HOURLY, *MORNING, *DOWN, *policy)]
    assert found == ["run", *expected, "run"]


def test_slots_covered_by_one_record_are_counted() -> None:
    stdout, stderr = printed(*HOURLY, *MORNING, *DOWN, "--misfire", "all", "--catch-up-limit", "1")
    assert "only the newest missed run was caught up (and 1 earlier)\n" in stdout
    assert stderr == "5 slots: 2 missed, 3 run\n"


AWAY = ["--no-workers", "2026-05-01T00:30/2026-05-01T03:30"]


@pytest.mark.parametrize(
    ("misfire", "expected"),
    [
        ("once", ["missed", "missed", "run"]),
        ("skip", ["expired", "expired", "expired"]),
        ("all", ["run", "run", "run"]),
    ],
)
def test_runs_that_wait_for_workers_follow_the_policy_too(misfire: str, expected: list[str]) -> None:
    found = [each.split()[1] for each in verdicts(*HOURLY, *MORNING, *AWAY, "--misfire", misfire)]
    assert found == ["run", *expected, "run"]


def test_a_line_says_which_run_has_waited_and_which_was_superseded() -> None:
    stdout, stderr = printed(*HOURLY, *MORNING, *AWAY)
    assert [[*line.split("\t")[1:3], line.split("\t")[4]] for line in stdout.splitlines()][2:4] == [
        [
            "missed",
            "-",
            "it had not started when the next run was due at 2026-05-01 03:00:00 UTC, which covers it",
        ],
        ["run", "2026-05-01T03:30:00+00:00", "waited for a worker"],
    ]
    assert stderr == "5 slots: 2 missed, 3 run\n"


@pytest.mark.django_db
def test_runs_wait_no_longer_than_their_schedule_says() -> None:
    scheduled("hourly", expire_seconds=600)
    assert verdicts("hourly", *MORNING, *AWAY)[1:4] == ["01:00 expired", "02:00 expired", "03:00 expired"]


@pytest.mark.django_db
def test_runs_that_may_overlap_wait_until_they_are_a_minute_late() -> None:
    every = IntervalSchedule.objects.create(every=30, period="seconds")
    PeriodicTask.objects.create(name="allowing", task="probes.allowing", interval=every)
    line = ["allowing", "--from", "2026-05-01T00:00", "--to", "2026-05-01T00:03"]
    found = verdicts(*line, "--no-workers", "2026-05-01T00:00/2026-05-01T00:02")
    assert [each.split()[1] for each in found] == ["missed", "missed", "run", "run", "run", "run"]


def test_jitter_delays_every_start_by_the_same_amount() -> None:
    stdout, _ = printed(*HOURLY, *MORNING, "--jitter", "30m", "--json")
    starts = {slot["started_at"][14:19] for slot in json.loads(stdout)}
    assert len(starts) == 1
    assert starts != {"00:00"}


def test_the_fold_is_replayed_in_the_zone() -> None:
    line = ["--cron", "30 1 * * *", "--tz", "Europe/London", "--from", "2026-10-25", "--to", "2026-10-26"]
    stdout, _ = printed(*line, "--downtime", "2026-10-25T01:00/2026-10-25T02:00")
    assert stdout.split("\t")[:3] == ["2026-10-25T01:30:00+01:00", "run", "2026-10-25T02:00:00+00:00"]


def test_json_has_the_same_as_the_lines_and_the_time_of_decision() -> None:
    stdout, _ = printed(*HOURLY, *MORNING, *DOWN, "--json")
    assert json.loads(stdout)[1] == {
        "schedule": None,
        "cron": "0 * * * *",
        "slot": "2026-05-01T01:00:00+00:00",
        "slot_utc": "2026-05-01T01:00:00+00:00",
        "moved_to": None,
        "verdict": "missed",
        "started_at": None,
        "decided_at": "2026-05-01T03:30:00+00:00",
        "reason": "coalesced",
        "reason_details": {"slot": "2026-05-01T03:00:00+00:00"},
        "coalesced": 0,
    }


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (["--cron", "60 * * * *"], "--cron: minute: 60 is not between 0 and 59"),
        (["--tz", "Mars"], "--tz: time zone: 'Mars' is not an IANA time zone"),
        (["--from", "dawn"], "--from: 'dawn' is not a time"),
        (["--to", "dusk"], "--to: 'dusk' is not a time"),
        (["--to", "2026-05-01"], "--to: 2026-05-01 is not later than --from, 2026-05-01"),
        (["--downtime", "2026-05-01"], "--downtime: '2026-05-01' is not a period; use FROM/TO"),
        (["--jitter", "some"], "--jitter: 'some' is not a duration"),
        (["--starting-deadline", "late"], "--starting-deadline: 'late' is not a duration"),
        (["--starting-deadline", "0s"], "starting_deadline: 0:00:00 is not positive"),
    ],
)
def test_an_invalid_value_is_named_and_the_exit_code_is_1(line: list[str], problem: str) -> None:
    with pytest.raises(CommandError, match=f"^{problem}") as raised:
        printed(*HOURLY, *MORNING, *line)
    assert raised.value.returncode == 1


@pytest.mark.parametrize("line", [["--misfire", "perhaps"], ["--catch-up-limit", "0"]])
def test_an_invalid_command_line_is_rejected_by_the_parser(line: list[str]) -> None:
    with pytest.raises(CommandError, match=f"^Error: argument {line[0]}"):
        printed(*HOURLY, *MORNING, *line)


@pytest.mark.django_db
def test_a_stored_schedule_is_replayed_with_its_own_policy() -> None:
    scheduled("hourly")
    SchedulePolicy.objects.update(misfire="skip")
    assert verdicts("hourly", *MORNING, *DOWN) == [
        "00:00 run",
        "01:00 missed",
        "02:00 missed",
        "03:00 missed",
        "04:00 run",
    ]


@pytest.mark.django_db
def test_an_option_overrides_the_stored_policy() -> None:
    scheduled("hourly")
    SchedulePolicy.objects.update(misfire="skip")
    assert verdicts("hourly", *MORNING, *DOWN, "--misfire", "all") == [f"0{hour}:00 run" for hour in range(5)]


@pytest.mark.django_db
def test_pauses_of_the_schedule_and_of_the_service_are_respected_with_their_reasons() -> None:
    schedule = scheduled("hourly")
    Pause.objects.create(
        schedule=schedule, since=utc("2026-05-01 00:30"), until=utc("2026-05-01 01:30"), reason="a\tmove"
    )
    Pause.objects.create(since=utc("2026-05-01 02:30"), reason="holidays", username="ann")
    stdout, stderr = printed("hourly", *MORNING)
    assert [line.split("\t")[4] for line in stdout.splitlines()] == [
        "on time",
        "schedule hourly was paused until 2026-05-01 01:30:00 UTC: a move",
        "on time",
        "the whole service was paused by ann until resumed: holidays",
        "the whole service was paused by ann until resumed: holidays",
    ]
    assert stderr == "5 slots: 2 run, 3 skipped\n"


@pytest.mark.django_db
def test_the_last_slot_held_by_an_open_ended_pause_is_reported_as_held() -> None:
    scheduled("hourly", expires=utc("2026-05-01 04:30"))
    Pause.objects.create(since=utc("2026-05-01 03:30"), on_resume="once")
    assert verdicts("hourly", *MORNING)[-1] == "04:00 held"


@pytest.mark.django_db
def test_an_expression_has_no_pauses() -> None:
    Pause.objects.create(since=utc("2026-04-01"))
    assert verdicts(*HOURLY, *MORNING)[0] == "00:00 run"


@pytest.mark.django_db
def test_all_enabled_schedules_are_merged_in_chronological_order() -> None:
    scheduled("b")
    scheduled("a", minute="30", zone="Europe/London")
    scheduled("off", minute="15", enabled=False)
    stdout, _ = printed("--from", "2026-05-01T00:00", "--to", "2026-05-01T02:00")
    rows = [line.split("\t") for line in stdout.splitlines()]
    assert [(row[0], row[3]) for row in rows] == [
        ("2026-05-01T00:00:00+00:00", "b"),
        ("2026-05-01T01:30:00+01:00", "a"),
        ("2026-05-01T01:00:00+00:00", "b"),
        ("2026-05-01T02:30:00+01:00", "a"),
    ]


@pytest.mark.django_db
def test_schedules_are_read_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_schedules, "READ_BATCH_SIZE", 2)
    schedules = [scheduled(f"{number}") for number in range(5)]
    Pause.objects.create(schedule=schedules[4], since=utc("2026-04-01"))
    stdout, _ = printed("--from", "2026-05-01T00:00", "--to", "2026-05-01T00:01")
    rows = [line.split("\t") for line in stdout.splitlines()]
    assert [(row[3], row[1]) for row in rows] == [
        ("0", "run"),
        ("1", "run"),
        ("2", "run"),
        ("3", "run"),
        ("4", "skipped"),
    ]


@pytest.mark.django_db
def test_a_disabled_schedule_is_simulated_as_if_it_were_enabled() -> None:
    scheduled("hourly", enabled=False)
    stdout, stderr = printed("hourly", *MORNING)
    assert stdout.count("\trun\t") == 5
    assert stderr.startswith("Schedule 'hourly' is disabled;")


@pytest.mark.django_db
def test_a_broken_schedule_is_an_error_by_itself_and_a_warning_among_others() -> None:
    schedule = scheduled("broken")
    CrontabSchedule.objects.filter(pk=schedule.crontab_id).update(hour="25")
    with pytest.raises(CommandError, match=r"^Schedule 'broken' is broken: hour: 25"):
        printed("broken", *MORNING)
    assert printed(*MORNING)[1].startswith("Schedule 'broken' is broken: hour: 25")


class EnoughError(Exception):
    pass


class Impatient(io.StringIO):
    """Reads a little, then closes the pipe."""

    def write(self, text: str) -> int:
        if self.tell() > 1000:
            raise EnoughError
        return super().write(text)


@pytest.mark.django_db
@pytest.mark.parametrize("form", [[], ["--json"]])
@pytest.mark.parametrize("which", [["--cron", "* * * * *"], ["every minute"], []])
def test_the_first_slots_of_an_endless_period_are_printed_at_once(which: list[str], form: list[str]) -> None:
    scheduled("every minute", minute="*")
    period = ["--from", "1900-01-02", "--to", "9998-01-01"]
    with pytest.raises(EnoughError):
        call_command("jobledger", "simulate", *which, *form, *period, stdout=Impatient())


def test_a_record_that_covers_very_many_slots_says_so() -> None:
    down = ("--downtime", "2026-05-01T00:00/2026-05-02T00:00")
    day = ("--from", "2026-05-01T00:00", "--to", "2026-05-02T00:01")
    stdout, stderr = printed("--cron", "* * * * *", *day, *down)
    assert "(and 100 or more earlier)\n" in stdout.splitlines(keepends=True)[0]
    assert stderr.startswith("at least 20")


@pytest.mark.django_db
def test_an_adopted_schedule_runs_when_celery_says() -> None:
    stock_cron("0 3 1-7 * mon")
    output = output_of("jobledger", "simulate", "stock", "--from", "2026-03-01", "--to", "2026-05-01")
    assert [line.split("\t")[0] for line in output.splitlines()] == [
        "2026-03-02T03:00:00+00:00",
        "2026-04-06T03:00:00+00:00",
    ]


def test_who_waited_too_long_for_a_worker_did_not_wait_for_beat() -> None:
    stdout, _ = printed(*HOURLY, *MORNING, *AWAY, "--misfire", "skip")
    expired = [line.split("\t")[4] for line in stdout.splitlines() if "\texpired\t" in line]
    assert len(expired) == 3
    assert set(expired) == {
        "it had not started within a minute, and its misfire policy is to skip missed runs"
    }
