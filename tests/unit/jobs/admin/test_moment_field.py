"""A moment that is typed is one that can be stored, and shown in every zone."""

from datetime import datetime

import pytest
from django.core.exceptions import ValidationError

from tasks_app.jobs.admin.moment_field import MomentField, MomentInput
from tests.unit.builders import utc


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-12-01T03:00", utc(2026, 12, 1, 3)),
        ("2026-12-01T03:00:01", utc(2026, 12, 1, 3, 0, 1)),
        ("2026-12-01T03:00+02:00", utc(2026, 12, 1, 1)),
    ],
)
def test_a_moment_is_read(text: str, moment: datetime) -> None:
    assert MomentField().clean(text) == moment


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("soon", "write it like 2026-12-01T03:00"),
        ("2026-13-01T00:00", "write it like"),
        ("0001-01-01T00:00:00+05:00", "in the years 1900 to 9998"),
        ("9999-12-31T23:59:59-05:00", "in the years 1900 to 9998"),
    ],
)
def test_what_is_none_or_at_the_end_of_the_calendar_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MomentField().clean(text)


def test_it_is_typed_into_the_browsers_own_field_to_the_second() -> None:
    shown = MomentInput().render("at", utc(2026, 12, 1, 3))
    assert all(part in shown for part in ('type="datetime-local"', 'step="1"', "2026-12-01T03:00:00"))
