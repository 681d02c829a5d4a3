"""Every time belongs to exactly one day, whatever the clock changes are."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app import days

ZONES = [
    "UTC",
    "Europe/London",
    "America/Sao_Paulo",  # the clock was put forward at midnight
    "America/Havana",  # and back to midnight
    "America/St_Johns",  # a minute past midnight
    "America/Toronto",  # in 1919 half an hour before midnight
    "Australia/Lord_Howe",  # by half an hour
    "Pacific/Apia",  # a whole day was left out
    "Asia/Kathmandu",
]


def hours_of(day: date, zone: str) -> float:
    start, end = days.bounds(day, ZoneInfo(zone))
    return (end - start) / timedelta(hours=1)


def test_an_ordinary_day_is_from_midnight_to_midnight() -> None:
    assert days.bounds(date(2026, 7, 1), ZoneInfo("Europe/London")) == (
        datetime(2026, 6, 30, 23, tzinfo=UTC),
        datetime(2026, 7, 1, 23, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        (date(2026, 3, 29), "Europe/London", 23),
        (date(2026, 10, 25), "Europe/London", 25),
        (date(2026, 4, 5), "Australia/Lord_Howe", 24.5),
        (date(2026, 10, 4), "Australia/Lord_Howe", 23.5),
        (date(2018, 2, 17), "America/Sao_Paulo", 25),
        (date(2018, 11, 4), "America/Sao_Paulo", 23),
        (date(2011, 12, 29), "Pacific/Apia", 24),
        (date(2011, 12, 30), "Pacific/Apia", 0),
        (date(1919, 3, 30), "America/Toronto", 23.5),
        (date(1919, 3, 31), "America/Toronto", 23.5),
    ],
)
def test_a_day_is_as_long_as_its_clock_says(day: date, zone: str, hours: float) -> None:
    assert hours_of(day, zone) == hours


def test_a_day_without_midnight_starts_at_the_end_of_the_gap() -> None:
    start = days.start_of(date(1919, 3, 31), ZoneInfo("America/Toronto"))
    assert start.astimezone(ZoneInfo("America/Toronto")).isoformat() == "1919-03-31T00:30:00-04:00"


@given(day=st.dates(date(1900, 1, 1), date(2100, 1, 1)), zone=st.sampled_from(ZONES))
def test_the_time_before_the_start_of_a_day_belongs_to_an_earlier_day(day: date, zone: str) -> None:
    start = days.start_of(day, ZoneInfo(zone))
    assert start.astimezone(ZoneInfo(zone)).date() >= day
    assert (start - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() < day


def test_a_range_of_days_includes_both_its_ends() -> None:
    found = list(days.between(date(2024, 2, 28), date(2024, 3, 1)))
    assert found == [date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1)]


def test_a_range_can_be_a_single_day() -> None:
    assert list(days.between(date(2026, 1, 1), date(2026, 1, 1))) == [date(2026, 1, 1)]
