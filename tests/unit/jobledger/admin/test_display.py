"""A status has a word and a shape; behind a relative time stands the exact one."""

import re
from datetime import timedelta
from pathlib import Path

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
    shown = display.status_mark(Status.TIMED_OUT)
    assert "timed out" in shown
    assert "marks.svg#timed_out" in shown


def test_a_word_is_data() -> None:
    assert "<b>" not in display.mark("failed", "<b>")


def test_the_exact_moment_stands_behind_the_relative_one(settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    shown = display.when(NOON, NOON + timedelta(hours=1))
    assert "1 h ago" in shown
    assert 'title="2026-03-01 12:00:00 UTC"' in shown


def test_no_moment_is_a_dash() -> None:
    assert display.when(None) == display.exactly_when(None) == "&ndash;"
