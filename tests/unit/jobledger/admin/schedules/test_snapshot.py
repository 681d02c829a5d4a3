"""Snapshots of a schedule: readable, without secrets, and with a version of their own."""

from datetime import timedelta
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin.schedules.snapshot import Snapshot, changes_between, snapshot_of
from jobledger.jobs.secrets import MASK
from jobledger.models import SchedulePolicy
from tests.unit.jobledger.schedules.builders import NOON

CRONTAB = CrontabSchedule(pk=1, minute="0", hour="3", timezone="UTC")


def taken(policy: dict[str, Any] | None = None, **schedule: Any) -> Snapshot:
    made = {"name": "mine", "task": "probes.choosing", "crontab": CRONTAB, **schedule}
    return snapshot_of(PeriodicTask(**made), SchedulePolicy(**(policy or {})))


def test_values_are_said_as_the_form_says_them() -> None:
    policy = {"misfire": "all", "catch_up_limit": 5, "jitter": timedelta(minutes=5), "concurrency": "queue"}
    found = taken(policy, kwargs='{"api_key": "s3cret", "days": 3}', start_time=NOON, enabled=False)
    assert found.readable == {
        "Name": "mine",
        "Job": "choosing",
        "Option api_key": MASK,
        "Option days": "3",
        "Timing": "every day at 03:00 UTC (0 3 * * *)",
        "Enabled": "no",
        "Start time": "2026-03-02 12:00:00 UTC",
        "Missed runs": "run each of them",
        "Catch-up limit": "5",
        "Random delay (jitter)": "5 min",
        "If the previous run is still running": "wait until it has ended",
    }


def test_another_secret_is_a_change_that_shows_neither() -> None:
    old, new = taken(kwargs='{"api_key": "s3cret"}'), taken(kwargs='{"api_key": "0ther"}')
    (change,) = changes_between(old, new)
    assert (change.name, change.old, change.new) == ("Option api_key", MASK, f"{MASK} (changed)")


def test_the_same_secret_is_no_change() -> None:
    assert changes_between(taken(kwargs='{"api_key": "x"}'), taken(kwargs='{"api_key":"x"}')) == []


@pytest.mark.parametrize(
    "other",
    [
        {"name": "other"},
        {"kwargs": '{"api_key": "s3cret"}'},
        {"enabled": False},
        {"description": "why"},
        {"crontab": CrontabSchedule(pk=1, minute="1", hour="3", timezone="UTC")},
        {"crontab": CrontabSchedule(pk=1, minute="0", hour="3", timezone="Europe/London")},
        {"one_off": True},
        {"expires": NOON},
        {"queue": "slow"},
        {"policy": {"misfire": "skip"}},
        {"policy": {"jitter": timedelta(seconds=1)}},
    ],
)
def test_every_edit_is_another_version(other: dict[str, Any]) -> None:
    assert taken(**other).version != taken().version


def test_the_same_values_are_the_same_version() -> None:
    assert taken().version == taken().version
    # A run that was counted is no edit.
    assert taken(total_run_count=3, last_run_at=NOON).version == taken().version
