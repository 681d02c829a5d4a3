"""Lengths of time, as people write them."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.jobs.admin import lengths
from tasks_app.jobs.admin.lengths import LengthField


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
def test_a_length_is_read_as_it_is_written(text: str, length: timedelta) -> None:
    assert LengthField().clean(text) == length


@pytest.mark.parametrize(
    "text",
    ["10", "a while", "10 minuten", "-5 min", "1.5 h", "999999999 w", "99999 d", "9999999999 00:00:00"],
)
def test_what_is_no_length_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValidationError, match="such as 90 s"):
        LengthField().clean(text)


def test_an_empty_one_is_none() -> None:
    assert LengthField(required=False).clean("") is None


@given(st.timedeltas(timedelta(milliseconds=1), timedelta(days=36000)))
def test_what_is_shown_is_read_back_as_the_same(length: timedelta) -> None:
    assert lengths.read(lengths.written(length)) == length


@pytest.mark.parametrize(
    ("length", "shown"), [(timedelta(minutes=90), "1 h 30 min"), (timedelta(0), ""), (None, "")]
)
def test_a_stored_one_is_shown_in_units(length: timedelta | None, shown: str) -> None:
    assert LengthField().prepare_value(length) == shown
