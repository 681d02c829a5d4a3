"""A schedule's values: readable, without secrets, and told apart in every state."""

from datetime import timedelta
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.admin.schedules import snapshot
from jobledger.admin.schedules.snapshot import Values
from jobledger.jobs.secrets import MASK
from jobledger.models import SchedulePolicy
from tests.unit.jobledger.schedules.builders import NOON

CRONTAB = CrontabSchedule(pk=1, minute="0", hour="3", timezone="UTC")


def values(policy: dict[str, Any] | None = None, **schedule: Any) -> Values:
    made = {"name": "mine", "task": "probes.choosing", "crontab": CRONTAB, **schedule}
    return snapshot.values_of(PeriodicTask(**made), SchedulePolicy(**(policy or {})))


def test_values_are_said_as_the_form_says_them() -> None:
    policy = {"misfire": "all", "catch_up_limit": 5, "jitter": timedelta(minutes=5), "concurrency": "queue"}
    said = values(policy, kwargs='{"api_key": "s3cret", "days": 3}', start_time=NOON, enabled=False)
    assert said.readable == {
        "Name": "mine",
        "Job": "choosing",
        "Option api_key": MASK,
        "Option days": "3",
        "Times": "every day at 03:00 UTC (0 3 * * *)",
        "Switched on": "no",
        "Not before": "2026-03-02 12:00:00 UTC",
        "Missed slots": "run each of them",
        "At most": "5",
        "Spread over": "5 min",
        "While the job still runs": "wait until the job has ended",
    }


def test_another_secret_is_a_change_that_shows_neither() -> None:
    old, new = values(kwargs='{"api_key": "s3cret"}'), values(kwargs='{"api_key": "0ther"}')
    (change,) = snapshot.changes(old, new)
    assert (change.name, change.old, change.new) == ("Option api_key", MASK, f"{MASK} (another)")


def test_the_same_secret_is_no_change() -> None:
    assert snapshot.changes(values(kwargs='{"api_key": "x"}'), values(kwargs='{"api_key":"x"}')) == []


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
    assert values(**other).version != values().version


def test_the_same_values_are_the_same_version() -> None:
    assert values().version == values().version
    # A run that was counted is no edit.
    assert values(total_run_count=3, last_run_at=NOON).version == values().version
