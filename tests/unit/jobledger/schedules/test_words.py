"""Schedules in plain English."""

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

from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.interval import Clocked
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.rules.solar import Solar
from jobledger.schedules.words import cron_in_words, described, in_words, length_words, rule_words
from tests.unit.jobledger.schedules.times import cron, every

LONDON = ZoneInfo("Europe/London")


def crontab(**fields: str) -> CrontabSchedule:
    return CrontabSchedule(pk=1, timezone=LONDON, **fields)


def test_a_crontab_is_described_with_its_zone() -> None:
    schedule = PeriodicTask(crontab=crontab(minute="0", hour="3", day_of_week="1-5"))
    assert described(schedule) == "every weekday at 03:00 Europe/London"


def test_a_crontab_that_is_the_same_in_every_zone_is_described_without_one() -> None:
    assert described(PeriodicTask(crontab=crontab(minute="*/5"))) == "every 5 minutes"


def test_an_invalid_crontab_is_described_as_stored() -> None:
    schedule = PeriodicTask(crontab=crontab(minute="0", hour="25"))
    assert described(schedule) == "0 25 * * * Europe/London"


@pytest.mark.parametrize(
    ("count", "period", "words"),
    [
        (1, "hours", "every hour"),
        (90, "seconds", "every 90 seconds"),
        (300, "seconds", "every 5 minutes"),
        (14, "days", "every 2 weeks"),
        (10, "lightyears", "every 10 lightyears"),
        (0, "seconds", "every 0 seconds"),
    ],
)
def test_an_interval_is_described_in_the_largest_unit_that_divides_it(
    count: int, period: str, words: str
) -> None:
    schedule = PeriodicTask(interval=IntervalSchedule(pk=1, every=count, period=period))
    assert described(schedule) == words


def test_a_clocked_time_is_described_in_the_current_zone() -> None:
    time = datetime(2026, 7, 1, 2, 0, tzinfo=UTC)
    schedule = PeriodicTask(clocked=ClockedSchedule(pk=1, clocked_time=time), one_off=True)
    with timezone.override(LONDON):
        assert described(schedule) == "once on 2026-07-01 03:00 Europe/London"


def test_a_one_off_schedule_says_so() -> None:
    schedule = PeriodicTask(crontab=crontab(minute="0", hour="3"), one_off=True)
    assert described(schedule) == "every day at 03:00 Europe/London, only the next time"


def test_a_solar_schedule_is_described_with_its_location() -> None:
    solar = SolarSchedule(pk=1, event="dawn_civil", latitude=51.5, longitude=-0.1)
    assert described(PeriodicTask(solar=solar)) == "every day at civil dawn at 51.5° N, 0.1° W"


def test_a_schedule_without_times_says_so() -> None:
    assert described(PeriodicTask()) == "no times"


def test_rules_are_described_like_schedules() -> None:
    at = datetime(2026, 12, 1, 3, 0, 5, tzinfo=UTC)
    rules = (cron("0 3 * * *", "Europe/London"), every(minutes=5), Clocked(at=at))
    sun = Solar(event="solar_noon", latitude=-1, longitude=1)
    assert [rule_words(rule, ZoneInfo("UTC")) for rule in (*rules, sun)] == [
        "every day at 03:00 Europe/London",
        "every 5 minutes",
        "once on 2026-12-01 03:00:05 UTC",
        "every day at solar noon at 1° S, 1° E",
    ]


def test_a_fractional_interval_is_described_as_it_is() -> None:
    assert length_words(timedelta(milliseconds=1500)) == "every 0:00:01.500000"


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 3 * * 1-5", "every weekday at 03:00"),
        ("0 3 * * mon-fri", "every weekday at 03:00"),
        ("0 3 * * *", "every day at 03:00"),
        ("@daily", "every day at 00:00"),
        ("0 3 * * 0-6", "every day at 03:00"),
        ("0 3,15 * * 7", "every Sunday at 03:00 and 15:00"),
        ("5 3 * * 6,0", "every Saturday and Sunday at 03:05"),
        ("5 3 * * fri-mon", "every Monday, Friday, Saturday and Sunday at 03:05"),
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0,20,40 * * * *", "every 20 minutes"),
        ("0 * * * *", "every hour"),
        ("15 * * * *", "every hour at 15 minutes past"),
        ("0 */6 * * *", "every 6 hours"),
        ("30 */2 * * *", "every 2 hours at 30 minutes past"),
        ("*/10 * * * 1-5", "every 10 minutes, every weekday"),
        ("30 2 1 * *", "at 02:30 on the 1st of every month"),
        ("30 2 2,22,23 * *", "at 02:30 on the 2nd, 22nd and 23rd of every month"),
        ("30 2 11-13 * *", "at 02:30 on the 11th, 12th and 13th of every month"),
    ],
)
def test_common_expressions_are_described_idiomatically(expression: str, words: str) -> None:
    assert in_words(expression) == words


@pytest.mark.parametrize("expression", ["*/5 * * * *", "* * * * *", "0 * * * *", "*/7 * * * *"])
def test_a_phrase_without_hour_and_day_needs_no_zone(expression: str) -> None:
    assert not cron_in_words(expression, LONDON).endswith(" Europe/London")


@pytest.mark.parametrize("expression", ["*/5 8 * * *", "*/5 * * * 1", "0 3 * * *", "0 * 1 * *", "0 * * 6 *"])
def test_a_phrase_with_an_hour_or_a_day_needs_its_zone(expression: str) -> None:
    assert cron_in_words(expression, LONDON).endswith(" Europe/London")


def test_an_invalid_expression_is_rejected() -> None:
    with pytest.raises(RuleError, match="hour: 25"):
        in_words("0 25 * * *")


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("30 3 * * 1-5", "every weekday at 03:30 UTC"),
        ("0 3 1,15 * *", "at 03:00 on the 1st and 15th of every month UTC"),
        ("0 3 1,2 * mon", "at 03:00 on the 1st and 2nd of every month, only if that is a Monday UTC"),
        ("0 3 1 * sat-sun", "at 03:00 on the 1st of every month, only if that is a Saturday or Sunday UTC"),
        ("*/1 * 1-31 1-12 0-6", "every minute"),
    ],
)
def test_expressions_by_celerys_rules(expression: str, words: str) -> None:
    rule = CeleryCron(expression=expression, zone=ZoneInfo("UTC"))
    assert rule_words(rule, ZoneInfo("UTC")) == words


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        ("Pacific/Auckland", datetime.max.replace(tzinfo=UTC), "once on 9999-12-31 23:59:59 UTC"),
        ("America/Los_Angeles", datetime.min.replace(tzinfo=UTC), "00:00 UTC"),
    ],
)
def test_a_time_that_the_zone_does_not_have_is_given_in_utc(zone: str, at: datetime, expected: str) -> None:
    assert rule_words(Clocked(at=at), ZoneInfo(zone)).endswith(expected)
