"""Calendars, and the schedules that use them."""

from enum import StrEnum
from typing import ClassVar

from django.core.exceptions import ValidationError
from django.db import models
from django_celery_beat.models import PeriodicTask

from jobledger.calendars.errors import CalendarError

MAX_TEXT_LENGTH = 50_000


class CalendarKind(StrEnum):
    """How a schedule uses a calendar."""

    NOT_ON = "not_on"
    """Nothing starts on it."""
    ONLY_ON = "only_on"
    """The schedule is due on it only, or on another one of this kind."""


CALENDAR_KIND_LABELS = ((CalendarKind.NOT_ON, "not on"), (CalendarKind.ONLY_ON, "only on"))


def validate_entries(text: str) -> None:
    """Raises ValidationError if a line is not an entry."""
    # Imported here: most processes need no calendars.
    from jobledger.calendars.calendar import calendar

    try:
        calendar("", text)
    except CalendarError as error:
        message = str(error)
        raise ValidationError(f"{message[0].upper()}{message[1:]}.") from None


class Calendar(models.Model):
    """A named set of days and times. The schedules that use it hold a copy of its entries."""

    name = models.CharField(max_length=100, unique=True)
    description = models.CharField(max_length=500, blank=True)
    entries = models.TextField(
        max_length=MAX_TEXT_LENGTH,
        validators=[validate_entries],
        help_text="One per line; what follows a # is the name of the entry.",
    )
    declared = models.TextField(
        blank=True,
        editable=False,
        help_text="The entries that the code declared when they were last applied; empty: none.",
    )

    class Meta:
        verbose_name = "calendar"
        verbose_name_plural = "calendars"
        ordering: ClassVar[list[str]] = ["name"]

    def __str__(self) -> str:
        return self.name


class ScheduleCalendar(models.Model):
    """That a schedule uses a calendar."""

    schedule = models.ForeignKey(PeriodicTask, on_delete=models.CASCADE, related_name="calendars")
    calendar = models.ForeignKey(Calendar, on_delete=models.PROTECT, related_name="schedules")
    kind = models.CharField(max_length=8, choices=CALENDAR_KIND_LABELS)

    class Meta:
        verbose_name = "calendar of a schedule"
        verbose_name_plural = "calendars of schedules"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["schedule", "calendar"], name="one_use_per_calendar"),
        ]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.kind} {self.calendar_id}"
