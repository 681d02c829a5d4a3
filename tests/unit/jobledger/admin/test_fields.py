"""Parsing and formatting of times, numbers and durations."""

from datetime import datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from jobledger import formats
from jobledger.admin.fields import DateTimeField, DateTimeInput, DurationField, number_in
from tests.unit.builders import utc


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-12-01T03:00", utc(2026, 12, 1, 3)),
        ("2026-12-01T03:00:01", utc(2026, 12, 1, 3, 0, 1)),
        ("2026-12-01T03:00+02:00", utc(2026, 12, 1, 1)),
    ],
)
def test_a_time_is_parsed(text: str, time: datetime) -> None:
    assert DateTimeField().clean(text) == time


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("soon", "such as 2026-12-01T03:00"),
        ("2026-13-01T00:00", "such as"),
        ("0001-01-01T00:00:00+05:00", "between 1900 and 9998"),
        ("9999-12-31T23:59:59-05:00", "between 1900 and 9998"),
    ],
)
def test_an_invalid_or_out_of_range_time_is_rejected(text: str, expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        DateTimeField().clean(text)


def test_a_time_uses_the_native_input_to_the_second() -> None:
    shown = DateTimeInput().render("at", utc(2026, 12, 1, 3))
    assert all(part in shown for part in ('type="datetime-local"', 'step="1"', "2026-12-01T03:00:00"))


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("12", 12), ("007", 7), ("999999999", 999_999_999)])
def test_a_number_is_parsed(text: str, number: int) -> None:
    assert number_in(text) == number


@pytest.mark.parametrize("text", ["", "-1", "1.5", " 1", "٣", "²", "1e3", "x", "9" * 10, "9" * 5000])
def test_other_text_is_not_a_number(text: str) -> None:
    assert number_in(text) is None


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90 s", timedelta(seconds=90)),
        ("10min", timedelta(minutes=10)),
        ("10m", timedelta(minutes=10)),
        ("1 h 30 min", timedelta(minutes=90)),
        ("2d", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
        ("00:10:00", timedelta(minutes=10)),
    ],
)
def test_a_duration_is_parsed(text: str, length: timedelta) -> None:
    assert DurationField().clean(text) == length


@pytest.mark.parametrize(
    "text",
    ["10", "a while", "10 minuten", "-5 min", "1.5 h", "999999999 w", "99999 d", "9999999999 00:00:00"],
)
def test_an_invalid_duration_is_rejected_with_an_example(text: str) -> None:
    with pytest.raises(ValidationError, match="such as 90 s"):
        DurationField().clean(text)


def test_an_empty_duration_is_none() -> None:
    assert DurationField().clean("") is None


@given(st.timedeltas(timedelta(milliseconds=1), timedelta(days=36000)))
def test_a_formatted_duration_is_parsed_back(length: timedelta) -> None:
    assert DurationField().clean(formats.duration_text(length)) == length


@pytest.mark.parametrize(
    ("length", "shown"), [(timedelta(minutes=90), "1 h 30 min"), (timedelta(0), ""), (None, "")]
)
def test_a_stored_duration_is_shown_in_units(length: timedelta | None, shown: str) -> None:
    assert DurationField().prepare_value(length) == shown
