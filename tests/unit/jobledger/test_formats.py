"""Times are exact and have their zone; durations and sizes are easy to read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from jobledger import formats
from tests.unit.builders import NOON


def test_a_time_is_exact_in_the_current_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Paris"
    assert formats.exact(NOON) == "2026-03-01 13:00:00 CET"


@pytest.mark.parametrize(
    ("away", "expected"),
    [
        (timedelta(0), "now"),
        (timedelta(minutes=5), "in 5 min"),
        (timedelta(hours=-2, minutes=-10), "2 h ago"),
        (timedelta(days=3, hours=4), "in 3 d"),
    ],
)
def test_a_relative_time_has_one_unit(away: timedelta, expected: str) -> None:
    assert formats.relative(NOON + away, NOON) == expected


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (timedelta(0), "0 ms"),
        (timedelta(milliseconds=42), "42 ms"),
        (timedelta(seconds=1), "1 s"),
        (timedelta(seconds=1.26), "1.3 s"),
        (timedelta(seconds=9.99), "10 s"),
        (timedelta(seconds=59.7), "1 min"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(hours=1, seconds=5), "1 h"),
        (timedelta(days=2, hours=3, minutes=4), "2 d 3 h"),
    ],
)
def test_a_duration_has_two_units_at_most(length: timedelta, expected: str) -> None:
    assert formats.duration(length) == expected


@given(st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_every_duration_can_be_formatted(length: timedelta) -> None:
    first, *rest = formats.duration(length).split()
    assert float(first) >= 0
    assert len(rest) in (1, 3)


def test_without_start_or_end_there_is_no_duration() -> None:
    assert formats.took(None, NOON) == formats.took(NOON, None) == ""
    assert formats.took(NOON, NOON + timedelta(minutes=1)) == "1 min"
    assert formats.took(NOON, NOON - timedelta(minutes=1)) == "0 ms"


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        (" 1 h 30 min ", timedelta(minutes=90)),
        ("1w2d3h4m5s", timedelta(weeks=1, days=2, hours=3, minutes=4, seconds=5)),
        ("2H", timedelta(hours=2)),
        ("30m1h", timedelta(minutes=90)),
        ("2h2h", timedelta(hours=4)),
        ("0s", timedelta(0)),
        ("999999999w", timedelta.max),
        ("999999999d9d", timedelta.max),
    ],
)
def test_a_duration_is_parsed(text: str, length: timedelta) -> None:
    assert formats.duration_from_text(text) == length


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-2h", "1.5h", "two hours", "1 hour", "00:10", "1234567890s", "1h 2"]
)
def test_any_other_text_is_not_a_duration(text: str) -> None:
    assert formats.duration_from_text(text) is None


@given(st.integers(0, 3_155_760_000))
def test_a_formatted_duration_can_be_parsed(seconds: int) -> None:
    length = timedelta(seconds=seconds)
    text = formats.duration(length, parts=4)
    assert text == "0 ms" or formats.duration_from_text(text) == length


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 bytes"),
        (1000, "1000 bytes"),
        (1024, "1 KB"),
        (1536 * 1024, "1.5 MB"),
        (84 * 2**20 + 1, "84 MB"),
        (int(9.99 * 2**30), "10 GB"),
        (5000 * 2**40, "5000 TB"),
    ],
)
def test_a_size_has_a_decimal_only_below_ten(count: int, expected: str) -> None:
    assert formats.size(count) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("512 MB", 512 * 2**20),
        (" 1.5gb ", 3 * 2**29),
        ("64KB", 2**16),
        ("0 MB", None),
        ("512", None),
        ("MB", None),
        ("-1 MB", None),
        ("512 MiB", None),
        ("1,5 GB", None),
    ],
)
def test_a_size_is_a_number_with_a_unit(text: str, expected: int | None) -> None:
    assert formats.size_from_text(text) == expected


@pytest.mark.parametrize(
    ("zone", "time"),
    [
        ("Europe/Paris", datetime.max.replace(tzinfo=UTC)),
        ("America/New_York", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_a_time_that_the_current_zone_does_not_have_is_in_utc(
    settings: Settings, zone: str, time: datetime
) -> None:
    settings.TIME_ZONE = zone
    assert formats.exact(time) == f"{time:%Y-%m-%d %H:%M:%S} UTC".rjust(23, "0")
