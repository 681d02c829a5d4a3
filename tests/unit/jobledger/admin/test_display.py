"""Statuses have a label and a shape; relative times have the exact time as a tooltip."""

import re
from datetime import timedelta
from pathlib import Path

from pytest_django import Settings

from jobledger.admin import display
from jobledger.models import Status
from tests.unit.builders import NOON

SHAPES = Path(display.__file__).parent.parent / "static" / "jobledger" / "marks.svg"


def test_every_status_has_its_own_shape() -> None:
    drawn = dict(re.findall(r'<symbol id="(\w+)"[^>]*>(.*?)</symbol>', SHAPES.read_text()))
    assert set(Status.values) <= set(drawn)
    assert len(set(drawn.values())) == len(drawn)


def test_a_mark_has_a_label_and_a_shape() -> None:
    shown = display.status_mark(Status.TIMED_OUT)
    assert "timed out" in shown
    assert "marks.svg#timed_out" in shown


def test_a_label_is_escaped() -> None:
    assert "<b>" not in display.mark("failed", "<b>")


def test_a_relative_time_has_the_exact_time_as_its_tooltip(settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    shown = display.when(NOON, NOON + timedelta(hours=1))
    assert "1 h ago" in shown
    assert 'title="2026-03-01 12:00:00 UTC"' in shown


def test_none_is_a_dash() -> None:
    assert display.when(None) == display.exactly_when(None) == "&ndash;"
