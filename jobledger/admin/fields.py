"""Times, durations (90 s, 10 min, 1 h 30 min, 2d, 00:10:00) and numbers as users type them."""

import re
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_duration

from jobledger.admin import display
from jobledger.schedules.rules.wallclock import EARLIEST, LATEST, can_be_told

INVALID_TIME = "This is not a valid time; write it like 2026-12-01T03:00."
_OUT_OF_RANGE = f"This is not in the years {EARLIEST.year} to {LATEST.year - 1}."
_MOST_DIGITS = 9
"""A longer number is out of range everywhere, and may be more than Python or a database reads."""

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "min": "minutes", "s": "seconds"}
_PART = re.compile(r"([0-9]{1,9})\s*(w|d|h|min|m|s)")
_ALL = re.compile(rf"(?:{_PART.pattern}\s*)+")
_LONGEST = timedelta(days=36525)


class DateTimeInput(forms.DateTimeInput):
    """The browser's own field for date and time, to the second."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class DateTimeField(forms.DateTimeField):
    """A time that can be stored, and shown in every time zone."""

    widget = DateTimeInput

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"error_messages": {"invalid": INVALID_TIME}, **values})

    def to_python(self, value: Any) -> datetime | None:
        """Raises ValidationError also for the ends of the calendar."""
        time: datetime | None = super().to_python(value)
        if time is not None:
            validate_range(time)
        return time


class DurationField(forms.Field):
    """A duration; None when it is empty."""

    widget = forms.TextInput(attrs={"autocomplete": "off"})

    def to_python(self, value: Any) -> timedelta | None:
        if value in self.empty_values:
            return None
        length = value if isinstance(value, timedelta) else duration_in(str(value))
        if length is None or not timedelta(0) <= length <= _LONGEST:
            raise forms.ValidationError("Write a duration, such as 90 s, 10 min, 1 h 30 min or 2 d.")
        return length

    def prepare_value(self, value: Any) -> Any:
        """A stored duration as a user would type it."""
        return duration_text(value) if isinstance(value, timedelta) and value else value or ""


def validate_range(time: datetime) -> None:
    """Raises ValidationError for a time that some time zone cannot show."""
    if not can_be_told(time):
        raise ValidationError(_OUT_OF_RANGE)


def number_in(text: str) -> int | None:
    """The whole number that the text is, of at least 0; None if it is not one."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else None


def duration_in(text: str) -> timedelta | None:
    """The duration that the text says, or None if it is not one. A unit that comes twice counts twice."""
    text = text.strip().lower()
    if _ALL.fullmatch(text):
        parts = (timedelta(**{_UNITS[unit]: int(count)}) for count, unit in _PART.findall(text))
        return _bounded(parts)
    # A bare number could be seconds or minutes: the unit has to be given.
    return _by_clock(text) if ":" in text else None


def duration_text(length: timedelta) -> str:
    """As ``duration_in`` reads it: 1 h 30 min."""
    whole = display.duration(length, parts=4)
    return whole if duration_in(whole) == length else str(length)


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
