"""Each state has a shape of its own."""

import re
from pathlib import Path

from tasks_app.jobs.admin import marks
from tasks_app.jobs.models import Status

SHAPES = Path(marks.__file__).parent.parent / "static" / "jobs" / "marks.svg"


def test_every_state_has_a_shape_and_no_two_have_the_same() -> None:
    drawn = dict(re.findall(r'<symbol id="(\w+)"[^>]*>(.*?)</symbol>', SHAPES.read_text()))
    assert set(Status.values) <= set(drawn)
    assert len(set(drawn.values())) == len(drawn)


def test_a_mark_says_the_word_and_names_the_shape() -> None:
    shown = marks.of_status(Status.TIMED_OUT)
    assert "timed out" in shown
    assert "marks.svg#timed_out" in shown


def test_a_word_is_data() -> None:
    assert "<b>" not in marks.mark("failed", "<b>")
