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
from hypothesis import given
from hypothesis import strategies as st

from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.interval import Clocked
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.rules.solar import Solar
from jobledger.schedules.words import described, in_words, length_words, needs_zone, rule_words
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


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("0 0 1,15 * 1", "at 00:00 on the first and the 15th day of month and on Monday"),
        ("0 0 */2 * 1", "if it's on Monday"),
        ("*/15 8-17 * * 1-5", "from 08:00 through 17:59 on Monday through Friday"),
        ("*/7 * * * *", "every seventh minute of every hour"),
        ("0 9 L * *", "at 09:00 on the last day of every month"),
        ("0 9 * * 5L", "at 09:00 on the last Friday of the month"),
        ("0 9 * * 1#2", "at 09:00 on the second Monday of the month"),
        ("0 9 22 3 *", "at 09:00 on March 22"),
        ("0 9 22,31 3 *", "the 22nd and the 31st day of month in March"),
        ("0 12,18 * 6 *", "at 12:00 and 18:00 every day in June"),
    ],
)
def test_all_other_expressions_are_described_too(expression: str, words: str) -> None:
    assert words in in_words(expression)


@pytest.mark.parametrize("expression", ["*/5 * * * *", "* * * * *", "0 * * * *", "*/7 * * * *"])
def test_a_phrase_without_hour_and_day_needs_no_zone(expression: str) -> None:
    assert not needs_zone(expression)


@pytest.mark.parametrize("expression", ["*/5 8 * * *", "*/5 * * * 1", "0 3 * * *", "0 * 1 * *", "0 * * 6 *"])
def test_a_phrase_with_an_hour_or_a_day_needs_its_zone(expression: str) -> None:
    assert needs_zone(expression)


def test_an_invalid_expression_is_rejected() -> None:
    with pytest.raises(RuleError, match="hour: 25"):
        in_words("0 25 * * *")


@given(
    minute=st.sampled_from(["*", "0", "*/7", "1-5", "7-59/15", "50-10"]),
    hour=st.sampled_from(["*", "0", "22-2", "*/5", "1,2,3,4,5,6"]),
    day=st.sampled_from(["*", "L", "LW", "1-7", "*/3", "21"]),
    month=st.sampled_from(["*", "nov-feb", "6"]),
    weekday=st.sampled_from(["*", "mon", "5L", "mon#2,3", "fri-mon", "*/2"]),
)
def test_every_expression_can_be_described(
    minute: str, hour: str, day: str, month: str, weekday: str
) -> None:
    assert in_words(f"{minute} {hour} {day} {month} {weekday}")


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
