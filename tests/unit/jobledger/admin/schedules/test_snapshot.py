"""Snapshots of schedules: readable values without secrets, and versions."""

from datetime import timedelta
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin.schedules.snapshot import Snapshot, changes_between, snapshot_of
from jobledger.jobs.secrets import MASK
from jobledger.models import SchedulePolicy
from tests.unit.jobledger.schedules.builders import NOON

CRONTAB = CrontabSchedule(pk=1, minute="0", hour="3", timezone="UTC")


def snapshot(policy: dict[str, Any] | None = None, **schedule: Any) -> Snapshot:
    fields = {"name": "mine", "task": "probes.choosing", "crontab": CRONTAB, **schedule}
    return snapshot_of(PeriodicTask(**fields), SchedulePolicy(**(policy or {})))


def test_values_have_the_labels_of_the_form() -> None:
    policy = {
        "misfire": "all",
        "catch_up_limit": 5,
        "jitter": timedelta(minutes=5),
        "concurrency": "queue",
        "max_live_per_schedule": 10,
        "max_live": 500,
    }
    found = snapshot(policy, kwargs='{"api_key": "s3cret", "days": 3}', start_time=NOON, enabled=False)
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
        "Limit of this schedule's live runs": "10",
        "Limit of the job's live runs": "500",
    }


def test_a_changed_secret_is_shown_without_its_values() -> None:
    old, new = snapshot(kwargs='{"api_key": "s3cret"}'), snapshot(kwargs='{"api_key": "0ther"}')
    (change,) = changes_between(old, new)
    assert (change.name, change.old, change.new) == ("Option api_key", MASK, f"{MASK} (changed)")


def test_an_unchanged_secret_is_not_a_change() -> None:
    assert changes_between(snapshot(kwargs='{"api_key": "x"}'), snapshot(kwargs='{"api_key":"x"}')) == []


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
        {"policy": {"max_live": 5}},
    ],
)
def test_every_edit_changes_the_version(other: dict[str, Any]) -> None:
    assert snapshot(**other).version != snapshot().version


def test_equal_values_have_the_same_version() -> None:
    assert snapshot().version == snapshot().version
    # Counting a run is not an edit.
    assert snapshot(total_run_count=3, last_run_at=NOON).version == snapshot().version
