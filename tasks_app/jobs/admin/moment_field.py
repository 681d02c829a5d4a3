"""A moment in a form: the browser's own field of date and time, and what every clock can tell of it."""

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from tasks_app.jobs.scheduling.wallclock import EARLIEST, LATEST, can_be_told

NO_MOMENT = _("This is no moment; write it like 2026-12-01T03:00.")
BEYOND = _("This is not in the years %(first)d to %(last)d.")


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
        raise ValidationError(BEYOND % {"first": EARLIEST.year, "last": LATEST.year - 1})
