"""All pages and commands format pauses in the same way."""

from datetime import datetime

import pytest
from django_celery_beat.models import PeriodicTask

from jobledger.models import Pause, pause_terms
from tests.unit.builders import utc


@pytest.mark.parametrize(
    ("until", "username", "reason", "terms"),
    [
        (None, "", "", "until resumed"),
        ("noon", "", "", "until noon"),
        ("noon", "ann", "a move", "by ann until noon: a move"),
        (None, "ann", "a move", "by ann until resumed: a move"),
    ],
)
def test_a_pause_is_formatted_with_its_user_end_and_reason(
    until: str | None, username: str, reason: str, terms: str
) -> None:
    assert pause_terms(until, username=username, reason=reason) == terms


def test_the_end_of_a_pause_is_formatted_by_the_caller() -> None:
    pause = Pause(until=utc(2026, 3, 1, 12), username="ann")
    assert pause.terms(lambda until: f"{until:%H:%M}") == "by ann until 12:00"
    assert pause.terms(datetime.isoformat) == "by ann until 2026-03-01T12:00:00+00:00"


def test_a_pause_as_text_names_what_is_paused() -> None:
    assert (
        str(Pause(schedule=PeriodicTask(name="nightly"), reason="move"))
        == "nightly paused until resumed: move"
    )
    assert str(Pause()) == "everything paused until resumed"
