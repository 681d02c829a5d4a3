"""``next``, ``simulate`` and the exports consider the calendars of schedules."""

import io
import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.core.management import call_command
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.exporting.schedules import Export, Omission, exports
from tests.unit.jobledger.schedules.builders import NOON, limited_by

pytestmark = pytest.mark.django_db

WEEK = ("--from", "2026-03-06", "--to", "2026-03-10")


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


def nightly(days: str = "*") -> PeriodicTask:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3", day_of_month=days)
    return PeriodicTask.objects.create(name="nightly", task="probes.probe", crontab=crontab)


def printed(*line: str) -> tuple[str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    call_command("jobledger", *line, stdout=stdout, stderr=stderr)
    return stdout.getvalue(), stderr.getvalue()


def test_next_leaves_out_what_calendars_do_and_says_so() -> None:
    limited_by(nightly(), "2026-03-03 # stocktaking")
    stdout, stderr = printed("next", "nightly", "--count", "1")
    assert stdout == "2026-03-04T03:00:00+00:00\n"
    assert "Left out: 2026-03-03T03:00:00+00:00, stocktaking (calendar closed nightly)\n" in stderr


def test_next_says_in_json_from_when_a_run_is_moved() -> None:
    limited_by(nightly("3"), "2026-03-03", moved=True)
    [found] = json.loads(printed("next", "nightly", "--count", "1", "--json")[0])
    assert (found["slot_utc"], found["moved_from"]) == (
        "2026-03-04T03:00:00+00:00",
        "2026-03-03T03:00:00+00:00",
    )


def test_simulate_shows_what_is_left_out_and_why() -> None:
    limited_by(nightly(), "sat, sun # free")
    lines = [line.split("\t") for line in printed("simulate", "nightly", *WEEK)[0].splitlines()]
    assert [(line[0][:10], line[1], line[4]) for line in lines] == [
        ("2026-03-06", "run", "on time"),
        ("2026-03-07", "skipped", "calendar closed nightly leaves it out (free)"),
        ("2026-03-08", "skipped", "calendar closed nightly leaves it out (free)"),
        ("2026-03-09", "run", "on time"),
    ]


def test_simulate_shows_what_is_left_out_at_the_end_of_the_period() -> None:
    limited_by(nightly(), "sat, sun # free")
    period = ("--from", "2026-03-06", "--to", "2026-03-08T12:00")
    lines = [line.split("\t") for line in printed("simulate", "nightly", *period)[0].splitlines()]
    assert [(line[0][:10], line[1]) for line in lines] == [
        ("2026-03-06", "run"),
        ("2026-03-07", "skipped"),
        ("2026-03-08", "skipped"),
    ]


def test_simulate_shows_what_is_moved_and_to_when() -> None:
    limited_by(nightly("7"), "sat, sun", moved=True)
    [found] = json.loads(printed("simulate", "nightly", *WEEK, "--json")[0])
    assert (found["slot_utc"], found["moved_to"], found["started_at"]) == (
        "2026-03-07T03:00:00+00:00",
        "2026-03-09T03:00:00+00:00",
        "2026-03-09T03:00:00+00:00",
    )


def test_an_export_says_that_it_loses_what_is_left_out() -> None:
    limited_by(nightly(), "sun")
    [export] = exports()
    assert isinstance(export, Export)
    assert "that calendars leave out some of its runs (closed nightly)" in export.notes


def test_a_schedule_that_is_limited_to_calendars_is_not_exported() -> None:
    limited_by(nightly(), only_on="last working day of the month")
    assert list(exports()) == [Omission(name="nightly", reason="it is limited to calendars (open nightly)")]


def test_a_time_in_the_past_is_not_left_out_again() -> None:
    limited_by(nightly(), "2026-03-01")
    later = (NOON - timedelta(days=2)).isoformat()
    assert "Left out: 2026-03-01" in printed("next", "nightly", "--from", later, "--count", "1")[1]
    assert "Left out" not in printed("next", "nightly", "--count", "1")[1]


def test_simulate_counts_what_is_left_out_although_the_record_of_the_day_comes_later() -> None:
    every_hour = CrontabSchedule.objects.create(minute="0", hour="*")
    limited_by(PeriodicTask.objects.create(name="hourly", task="probes.probe", crontab=every_hour), "sun")
    period = ("--from", "2026-03-08T01:00", "--to", "2026-03-08T03:00")
    stdout, stderr = printed("simulate", "hourly", *period)
    assert stderr == "2 slots: 2 skipped\n"
    assert "calendar closed hourly leaves it out" in stdout


def test_next_says_that_calendars_leave_no_time() -> None:
    limited_by(nightly(), "mon-sun")
    stdout, stderr = printed("next", "nightly")
    assert (stdout, stderr.splitlines()[0]) == (
        "",
        "'nightly' does not run: its calendars leave no time for it.",
    )
