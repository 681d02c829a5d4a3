"""A length of time in a form, written as people write it: 90 s, 10 min, 1 h 30 min, 2d or 00:10:00."""

import re
from datetime import timedelta
from typing import Any

from django import forms
from django.utils.dateparse import parse_duration
from django.utils.translation import gettext_lazy as _

from tasks_app.jobs.admin import moments

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
    whole = moments.duration(length, parts=4)
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
            raise forms.ValidationError(_("Write a length of time, such as 90 s, 10 min, 1 h 30 min or 2 d."))
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
