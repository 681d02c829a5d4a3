"""Form fields and parsers for times, durations (90 s, 10 min, 1 h 30 min, 2d, 00:10:00) and numbers."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.dateparse import parse_duration

from jobledger.admin.options.widgets import SecretInput, SecretText
from jobledger.formats import MAX_DURATION, duration_from_text, duration_text
from jobledger.schedules.rules.wallclock import EARLIEST, LATEST, is_representable

INVALID_TIME = "Enter a valid time, such as 2026-12-01T03:00."
_OUT_OF_RANGE = f"The year must be between {EARLIEST.year} and {LATEST.year - 1}."
_MAX_DIGITS = 9
"""Longer numbers are out of range everywhere, and may exceed the limits of Python or a database."""


class DateTimeInput(forms.DateTimeInput):
    """The browser's native input for date and time, to the second."""

    input_type = "datetime-local"

    def __init__(self) -> None:
        super().__init__(attrs={"step": "1"}, format="%Y-%m-%dT%H:%M:%S")


class DateTimeField(forms.DateTimeField):
    """A time that can be stored and displayed in every time zone."""

    widget = DateTimeInput
    stored: datetime | None = None
    """Kept if the input is unchanged, which has neither fractions of a second nor an offset."""

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"error_messages": {"invalid": INVALID_TIME}, **values})

    def to_python(self, value: Any) -> datetime | None:
        """Also raises ValidationError for times that cannot be represented in every time zone."""
        widget: Any = self.widget
        if self.stored and value == widget.format_value(self.prepare_value(self.stored)):
            return self.stored
        time: datetime | None = super().to_python(value)
        if time is not None:
            validate_range(time)
        return time


class DurationField(forms.Field):
    """A duration; None if empty."""

    def __init__(self, *, placeholder: str = "", shows_zero: bool = False, **values: Any) -> None:
        """``shows_zero`` if zero and empty are not the same."""
        self._shows_zero = shows_zero
        attrs = {"autocomplete": "off", **({"placeholder": placeholder} if placeholder else {})}
        super().__init__(required=False, widget=forms.TextInput(attrs=attrs), **values)

    def to_python(self, value: Any) -> timedelta | None:
        if value in self.empty_values:
            return None
        length = value if isinstance(value, timedelta) else _parse(str(value))
        if length is None or not timedelta(0) <= length <= MAX_DURATION:
            raise forms.ValidationError("Enter a duration, such as 90 s, 10 min, 1 h 30 min or 2 d.")
        return length

    def prepare_value(self, value: Any) -> Any:
        """The stored duration as a user would type it."""
        is_shown = isinstance(value, timedelta) and (value or self._shows_zero)
        return duration_text(value) if is_shown else value or ""


class StoredSecretField(forms.Field):
    """A text that is stored, but never sent to the browser: empty input keeps it."""

    widget: SecretInput

    def __init__(self, **values: Any) -> None:
        super().__init__(
            required=False,
            widget=SecretInput(attrs={"autocomplete": "new-password", "spellcheck": "false"}),
            **values,
        )

    def has_changed(self, initial: Any, data: Any) -> bool:
        return isinstance(data, SecretText) and bool(data.text or data.is_cleared)

    @staticmethod
    def merged(entered: SecretText, stored: str) -> str:
        """The text after saving."""
        return entered.text.strip() or ("" if entered.is_cleared else stored)


def validate_range(time: datetime) -> None:
    """Raises ValidationError if the time cannot be represented in every time zone."""
    if not is_representable(time):
        raise ValidationError(_OUT_OF_RANGE)


def number_in(text: str) -> int | None:
    """Parses a non-negative integer; returns None if the text is not one."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else None


def _parse(text: str) -> timedelta | None:
    length = duration_from_text(text)
    return _parse_clock(text.strip()) if length is None and ":" in text else length


def _parse_clock(text: str) -> timedelta | None:
    try:
        return parse_duration(text)
    except OverflowError:
        return None
