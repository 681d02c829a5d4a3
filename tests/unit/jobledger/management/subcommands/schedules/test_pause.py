"""``jobledger pause`` pauses a schedule, or the whole service, and prints until when and why."""

import io
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.management.subcommands.schedules import pause
from jobledger.models import AuditEntry, Pause
from jobledger.schedules.audit import command_line_user
from tests.probes.management.commands.probe import Command as Probe
from tests.unit.jobledger.schedules.builders import NOON, hourly

pytestmark = pytest.mark.django_db

HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture(autouse=True)
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user at the command line."""
    monkeypatch.setattr(pause, "operating_system_user", lambda: "ann")


def told(*line: str) -> str:
    stdout = io.StringIO()
    call_command("jobledger", "pause", *line, stdout=stdout)
    return stdout.getvalue()


def test_a_schedule_is_paused_for_a_time_with_a_reason() -> None:
    schedule = hourly()
    assert told("hourly", "--for", "2h", "--reason", "move of the database") == (
        "hourly is paused until 2026-03-02T14:00:00+00:00: move of the database\n"
    )
    stored = Pause.objects.get()
    assert (stored.schedule, stored.since, stored.until) == (schedule, NOON, NOON + 2 * HOUR)
    assert (stored.reason, stored.username, stored.on_resume) == ("move of the database", "ann", "skip")


def test_without_a_name_the_whole_service_is_paused() -> None:
    hourly()
    assert told("--for", "1h30m") == "The whole service is paused until 2026-03-02T13:30:00+00:00\n"
    assert Pause.objects.get().schedule is None


def test_the_jobs_that_are_exempt_from_pauses_of_the_service_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Probe, "runs_while_paused", True)
    hourly()
    told("hourly")
    assert capsys.readouterr().err == ""
    told()
    assert capsys.readouterr().err == "Not paused, since they declare runs_while_paused: inherited, probe.\n"


def test_without_an_end_it_is_paused_until_it_is_resumed() -> None:
    hourly()
    assert told("hourly") == "hourly is paused until resumed\n"
    assert Pause.objects.get().until is None


def test_an_end_without_an_offset_is_in_the_schedules_zone() -> None:
    crontab = CrontabSchedule.objects.create(timezone=ZoneInfo("Asia/Tokyo"))
    PeriodicTask.objects.create(name="east", task="probes.probe", crontab=crontab)
    assert told("east", "--until", "2026-03-03T09:00") == "east is paused until 2026-03-03T09:00:00+09:00\n"
    assert Pause.objects.get().until == NOON + 12 * HOUR


def test_another_zone_can_be_given(settings: Any) -> None:
    assert told("--until", "2026-07-01T09:00", "--tz", "Europe/London").endswith("09:00:00+01:00\n")
    settings.TIME_ZONE = "Asia/Tokyo"
    assert told("--until", "2026-07-01T09:00").endswith("09:00:00+09:00\n")


def test_the_latest_slot_can_run_when_the_pause_ends() -> None:
    told("--on-resume", "once")
    assert Pause.objects.get().on_resume == "once"


def test_pausing_again_changes_the_end_and_keeps_what_is_not_given() -> None:
    told("--reason", "move", "--on-resume", "once")
    assert told("--for", "1h") == (
        "The whole service was already paused; it is now paused until 2026-03-02T13:00:00+00:00: move\n"
    )
    stored = Pause.objects.get()
    assert (stored.until, stored.on_resume) == (NOON + HOUR, "once")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (["horly"], r"There is no schedule 'horly'\. Similar names: hourly\."),
        (["--for", "long"], "--for: 'long' is not a duration"),
        (["--for", "0s"], "--for: a pause must last longer than 0s"),
        (["--until", "later"], "--until: 'later' is not a time"),
        (["--until", "2026-03-02T12:00"], r"--until: 2026-03-02T12:00:00\+00:00 is in the past"),
        (["--tz", "Mars"], "--tz: time zone: 'Mars' is not an IANA time zone"),
        (["--reason", "x" * 501], "--reason: it is longer than 500 characters"),
    ],
)
def test_an_invalid_value_is_named_and_nothing_is_paused(line: list[str], problem: str) -> None:
    hourly()
    with pytest.raises(CommandError, match=f"^{problem}") as raised:
        told(*line)
    assert raised.value.returncode == 1
    assert not Pause.objects.exists()


@pytest.mark.parametrize("line", [["--for", "1h", "--until", "2027-01-01"], ["--on-resume", "all"]])
def test_an_invalid_command_line_is_rejected_by_the_parser(line: list[str]) -> None:
    with pytest.raises(CommandError, match=r"^Error: argument"):
        told(*line)


def test_pauses_are_in_the_audit_log() -> None:
    schedule = hourly()
    told("hourly", "--for", "2h", "--reason", "move")
    told("--until", "2026-03-02T15:00")
    entries = list(AuditEntry.objects.order_by("pk"))
    assert [each.text for each in entries] == [
        "Paused until 2026-03-02 14:00:00 UTC: move.",
        "Paused the whole service until 2026-03-02 15:00:00 UTC.",
    ]
    assert (entries[0].object_id, entries[0].username) == (str(schedule.pk), command_line_user())
