"""Moments and lengths of time are told exactly and with their zone, and so that they are quickly read."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from jobledger.admin import display
from jobledger.models import Status
from tests.unit.builders import NOON

SHAPES = Path(display.__file__).parent.parent / "static" / "jobledger" / "marks.svg"


def test_every_state_has_a_shape_and_no_two_have_the_same() -> None:
    drawn = dict(re.findall(r'<symbol id="(\w+)"[^>]*>(.*?)</symbol>', SHAPES.read_text()))
    assert set(Status.values) <= set(drawn)
    assert len(set(drawn.values())) == len(drawn)


def test_a_mark_says_the_word_and_names_the_shape() -> None:
    shown = display.of_status(Status.TIMED_OUT)
    assert "timed out" in shown
    assert "marks.svg#timed_out" in shown


def test_a_word_is_data() -> None:
    assert "<b>" not in display.mark("failed", "<b>")


def test_a_moment_is_told_in_the_admins_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Paris"
    assert display.exact(NOON) == "2026-03-01 13:00:00 CET"


@pytest.mark.parametrize(
    ("away", "told"),
    [
        (timedelta(0), "now"),
        (timedelta(minutes=5), "in 5 min"),
        (timedelta(hours=-2, minutes=-10), "2 h ago"),
        (timedelta(days=3, hours=4), "in 3 d"),
    ],
)
def test_how_far_away_is_told_in_one_unit(away: timedelta, told: str) -> None:
    assert display.relative(NOON + away, NOON) == told


@pytest.mark.parametrize(
    ("length", "told"),
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
def test_a_length_of_time_has_two_units_at_most(length: timedelta, told: str) -> None:
    assert display.duration(length) == told


@given(st.timedeltas(timedelta(0), timedelta(days=4000)))
def test_every_length_of_time_can_be_told(length: timedelta) -> None:
    first, *rest = display.duration(length).split()
    assert float(first) >= 0
    assert len(rest) in (1, 3)


def test_the_exact_moment_stands_behind_the_relative_one(settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    shown = display.when(NOON, NOON + timedelta(hours=1))
    assert "1 h ago" in shown
    assert 'title="2026-03-01 12:00:00 UTC"' in shown


def test_no_moment_is_a_dash() -> None:
    assert display.when(None) == display.both(None) == "&ndash;"


def test_what_has_no_beginning_or_no_end_took_no_time_to_tell() -> None:
    assert display.took(None, NOON) == display.took(NOON, None) == ""
    assert display.took(NOON, NOON + timedelta(minutes=1)) == "1 min"
    assert display.took(NOON, NOON - timedelta(minutes=1)) == "0 ms"
