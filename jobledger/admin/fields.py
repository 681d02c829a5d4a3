"""A length of time in a form, written as people write it: 90 s, 10 min, 1 h 30 min, 2d or 00:10:00."""

import re
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_duration

from jobledger.admin import display
from jobledger.schedules.rules.wallclock import EARLIEST, LATEST, can_be_told

NO_MOMENT = "This is no moment; write it like 2026-12-01T03:00."
BEYOND = f"This is not in the years {EARLIEST.year} to {LATEST.year - 1}."


class MomentInput(forms.DateTimeInput):
    """The browser's own field of date and time."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class MomentField(forms.DateTimeField):
    """A moment that can be stored, and shown in every zone."""

    widget = MomentInput

    def __init__(self, **values: Any) -> None:
        """With what is said of something else."""
        super().__init__(**{"error_messages": {"invalid": NO_MOMENT}, **values})

    def to_python(self, value: Any) -> datetime | None:
        """Read it; the ends of the calendar are refused."""
        moment: datetime | None = super().to_python(value)
        if moment is not None:
            refuse_beyond(moment)
        return moment


def refuse_beyond(moment: datetime) -> None:
    """Raises ValidationError for a moment that not every zone can tell."""
    if not can_be_told(moment):
        raise ValidationError(BEYOND)


MOST_DIGITS = 9
"""What is longer is no number of anything here, and may be more than Python or a database reads."""


def number_in(text: str) -> int | None:
    """The number that the text is, of at least 0; None where it is none."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
    return int(text) if is_number else None


_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "min": "minutes", "s": "seconds"}
_PART = re.compile(r"([0-9]{1,9})\s*(w|d|h|min|m|s)")
_ALL = re.compile(rf"(?:{_PART.pattern}\s*)+")
_LONGEST = timedelta(days=36525)


def read(text: str) -> timedelta | None:
    """The length that the text says, or None where it says none. A unit that comes twice counts twice."""
    text = text.strip().lower()
    if _ALL.fullmatch(text):
        parts = (timedelta(**{_UNITS[unit]: int(count)}) for count, unit in _PART.findall(text))
        return _bounded(parts)
    # A bare number could be seconds or minutes: it is asked for.
    return _by_clock(text) if ":" in text else None


def written(length: timedelta) -> str:
    """As ``read`` takes it: 1 h 30 min."""
    whole = display.duration(length, parts=4)
    return whole if read(whole) == length else str(length)


class LengthField(forms.Field):
    """A length of time; None when it is empty."""

    widget = forms.TextInput(attrs={"autocomplete": "off"})

    def to_python(self, value: Any) -> timedelta | None:
        """Read it, or say how it is written."""
        if value in self.empty_values:
            return None
        length = value if isinstance(value, timedelta) else read(str(value))
        if length is None or not timedelta(0) <= length <= _LONGEST:
            raise forms.ValidationError("Write a length of time, such as 90 s, 10 min, 1 h 30 min or 2 d.")
        return length

    def prepare_value(self, value: Any) -> Any:
        """Show a stored one as it would be written."""
        return written(value) if isinstance(value, timedelta) and value else value or ""


def _by_clock(text: str) -> timedelta | None:
    try:
        return parse_duration(text)
    except OverflowError:
        return None


def _bounded(parts: Any) -> timedelta | None:
    try:
        return sum(parts, timedelta(0))
    except OverflowError:
        return None
