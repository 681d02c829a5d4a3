"""Moments, zones and lengths of time are read from command lines; what is wrong names its option."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError

from jobledger.management import moments
from tests.unit.jobledger.schedules.times import utc

LONDON = ZoneInfo("Europe/London")


def read(text: str) -> str:
    return moments.moment(text, "--from", LONDON).isoformat()


def test_a_moment_without_an_offset_is_meant_in_the_zone() -> None:
    assert read("2026-07-01T12:00") == "2026-07-01T11:00:00+00:00"


@pytest.mark.parametrize("text", ["2026-07-01T12:00Z", "2026-07-01T14:00+02:00", "2026-07-01 12:00:00+00:00"])
def test_a_moment_with_an_offset_is_meant_as_it_stands(text: str) -> None:
    assert read(text) == "2026-07-01T12:00:00+00:00"


def test_a_day_is_its_midnight() -> None:
    assert read("2026-07-01") == "2026-06-30T23:00:00+00:00"


def test_a_time_that_comes_twice_means_its_first_coming() -> None:
    assert read("2026-10-25T01:30") == "2026-10-25T00:30:00+00:00"


def test_a_time_that_the_clock_leaps_over_means_the_end_of_the_leap() -> None:
    assert read("2026-03-29T01:30") == "2026-03-29T01:00:00+00:00"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tomorrow", "is not a moment; write it like 2026-10-24"),
        ("", "is not a moment"),
        ("2026-02-30", "is not a moment"),
        ("12:00", "is not a moment"),
        ("2026-07-01T12:00+99:00", "is not a moment"),
        ("1492-10-12", "is not in the years 1900 to 9998"),
        ("9999-12-31", "is not in the years 1900 to 9998"),
        ("0001-01-01T00:00+12:00", "is beyond the calendar"),
    ],
)
def test_what_is_no_moment_is_an_error_that_names_the_option(text: str, problem: str) -> None:
    with pytest.raises(CommandError, match=rf"^--from: '.*' {problem}") as raised:
        read(text)
    assert raised.value.returncode == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", timedelta(seconds=90)),
        ("2h", timedelta(hours=2)),
        ("1d", timedelta(days=1)),
        ("1h30m", timedelta(minutes=90)),
        ("1w2d3h4m5s", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
        ("0s", timedelta(0)),
    ],
)
def test_a_length_of_time_is_numbers_with_units(text: str, expected: timedelta) -> None:
    assert moments.duration(text, "--for") == expected


@pytest.mark.parametrize("text", ["", "2", "h", "2 h", "-2h", "1.5h", "30m1h", "2H", "2h2h", "two hours"])
def test_what_is_no_length_of_time_is_an_error(text: str) -> None:
    with pytest.raises(CommandError, match=r"^--for: '.*' is not a length of time; write numbers with"):
        moments.duration(text, "--for")


@pytest.mark.parametrize("text", ["36526d", "999999999w"])
def test_a_length_of_time_ends_at_a_hundred_years(text: str) -> None:
    with pytest.raises(CommandError, match=r"--for: .* is longer than a hundred years"):
        moments.duration(text, "--for")


def test_a_span_is_two_moments_in_the_zone() -> None:
    assert moments.span("2026-07-01T12:00/2026-07-01T12:00Z", "--downtime", LONDON) == (
        utc("2026-07-01 11:00"),
        utc("2026-07-01 12:00"),
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("2026-07-01", "'2026-07-01' is not two moments FROM/TO"),
        ("2026-07-01/", "'' is not a moment"),
        ("/2026-07-01", "'' is not a moment"),
        ("2026-07-02/2026-07-01", ".* ends before it begins"),
        ("2026-07-01/2026-07-01", ".* ends before it begins"),
    ],
)
def test_what_is_no_span_is_an_error(text: str, problem: str) -> None:
    with pytest.raises(CommandError, match=f"^--downtime: {problem}"):
        moments.span(text, "--downtime", LONDON)


@pytest.mark.parametrize("name", ["Europe/Lodnon", "Europe", "../etc/passwd", ""])
def test_a_zone_that_is_not_known_is_an_error(name: str) -> None:
    with pytest.raises(CommandError, match=r"^--tz: time zone: '.*' is not known") as raised:
        moments.zone(name, "--tz")
    assert raised.value.returncode == 1


def test_a_moment_is_shown_with_the_zones_offset() -> None:
    assert moments.shown(utc("2026-10-25 01:30"), LONDON) == "2026-10-25T01:30:00+00:00"
    assert moments.shown(utc("2026-10-25 00:30"), LONDON) == "2026-10-25T01:30:00+01:00"
