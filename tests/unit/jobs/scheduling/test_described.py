"""A stored schedule in plain language."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from tasks_app.jobs.scheduling import described
from tasks_app.jobs.scheduling.slots import Clocked, Solar
from tests.unit.jobs.scheduling.moments import cron, every

LONDON = ZoneInfo("Europe/London")


def crontab(**fields: str) -> CrontabSchedule:
    return CrontabSchedule(pk=1, timezone=LONDON, **fields)


def test_a_crontab_is_said_with_its_zone() -> None:
    schedule = PeriodicTask(crontab=crontab(minute="0", hour="3", day_of_week="1-5"))
    assert described.described(schedule) == "every weekday at 03:00 Europe/London"


def test_a_crontab_that_is_alike_everywhere_is_said_without() -> None:
    assert described.described(PeriodicTask(crontab=crontab(minute="*/5"))) == "every 5 minutes"


def test_a_crontab_that_cannot_be_evaluated_is_shown_as_it_was_written() -> None:
    schedule = PeriodicTask(crontab=crontab(minute="0", hour="25"))
    assert described.described(schedule) == "0 25 * * * Europe/London"


@pytest.mark.parametrize(
    ("count", "period", "words"),
    [
        (1, "hours", "every hour"),
        (90, "seconds", "every 90 seconds"),
        (300, "seconds", "every 5 minutes"),
        (14, "days", "every 2 weeks"),
        (10, "lightyears", "every 10 lightyears"),
        (0, "seconds", "every 0:00:00"),
    ],
)
def test_an_interval_is_said_in_the_largest_unit_that_fits(count: int, period: str, words: str) -> None:
    schedule = PeriodicTask(interval=IntervalSchedule(pk=1, every=count, period=period))
    assert described.described(schedule) == words


def test_one_moment_is_said_in_the_current_zone() -> None:
    moment = datetime(2026, 7, 1, 2, 0, tzinfo=UTC)
    schedule = PeriodicTask(clocked=ClockedSchedule(pk=1, clocked_time=moment), one_off=True)
    with timezone.override(LONDON):
        assert described.described(schedule) == "once on 2026-07-01 03:00 Europe/London"


def test_a_schedule_that_is_switched_off_after_its_next_slot_says_so() -> None:
    schedule = PeriodicTask(crontab=crontab(minute="0", hour="3"), one_off=True)
    assert described.described(schedule) == "every day at 03:00 Europe/London, only the next time"


def test_the_sun_is_said_with_its_place() -> None:
    solar = SolarSchedule(pk=1, event="dawn_civil", latitude=51.5, longitude=-0.1)
    assert described.described(PeriodicTask(solar=solar)) == "every day at civil dawn at 51.5° N, 0.1° W"


def test_a_schedule_without_times_says_so() -> None:
    assert described.described(PeriodicTask()) == "no times"


def test_rules_have_the_same_words() -> None:
    at = datetime(2026, 12, 1, 3, 0, 5, tzinfo=UTC)
    rules = (cron("0 3 * * *", "Europe/London"), every(minutes=5), Clocked(at=at))
    sun = Solar(event="solar_noon", latitude=-1, longitude=1)
    assert [described.rule_words(rule, ZoneInfo("UTC")) for rule in (*rules, sun)] == [
        "every day at 03:00 Europe/London",
        "every 5 minutes",
        "once on 2026-12-01 03:00:05 UTC",
        "every day at solar noon at 1° S, 1° E",
    ]


def test_a_length_that_is_no_whole_second_is_shown_as_it_is() -> None:
    assert described.length_words(timedelta(milliseconds=1500)) == "every 0:00:01.500000"
