"""Calendars in the admin: their entries, the days that they cover, and the schedules that use them."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger.admin.alerts.audited import Audited
from jobledger.admin_site import page_url
from jobledger.calendars.calendar import calendar
from jobledger.calendars.errors import CalendarError
from jobledger.calendars.spans import DAY_MINUTES, Span
from jobledger.models import Calendar
from jobledger.models.calendar import CALENDAR_KIND_LABELS
from jobledger.schedules.declared import naming_calendars
from jobledger.schedules.declared.calendars import declared_calendars

DAYS_SHOWN = 30
LAST_DAY = timedelta(days=366)
MAX_SCHEDULES = 100
SYNTAX = (
    "One entry per line: sat, sun; holidays GB-ENG (needs django-jobledger[holidays]; a country alone, such "
    "as GB, has only the holidays that all its parts have in common); 2026-12-24; 2026-12-24 to 2027-01-01; "
    "12-24 to 12-31 (each year); last working day of the month in GB-ENG; "
    "every 2 weeks from 2026-01-05; 2026-12-20 18:00 to 2026-12-27 06:00; 22:00 to 06:00; "
    "fri 18:00 to 24:00. What follows a # is the entry's name."
)


class CalendarForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker alone
    class Meta:
        model = Calendar
        fields = ("name", "description", "entries")
        help_texts: ClassVar[dict[str, Any]] = {"entries": SYNTAX}
        widgets: ClassVar[dict[str, Any]] = {
            "entries": forms.Textarea(attrs={"rows": 12, "spellcheck": "false", "class": "vLargeTextField"})
        }


class CalendarAdmin(Audited):
    form = CalendarForm
    change_form_template = "jobledger/calendars/form.html"
    change_list_template = "jobledger/calendars/list.html"
    list_display = ("name", "description", "next_days", "use_count")
    search_fields = ("name", "description", "entries")
    fields = ("name", "description", "entries", "days", "used_by")
    readonly_fields = ("days", "used_by")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(uses=Count("schedules"))

    @admin.display(description="next days")
    def next_days(self, obj: Calendar) -> str:
        days = (day for day, _ in groupby(_covered(obj), key=itemgetter(0)))
        return ", ".join(f"{day:%a %d %b %Y}" for day in islice(days, 3)) or "none"

    @admin.display(description="schedules", ordering="uses")
    def use_count(self, obj: Calendar) -> int:
        return int(getattr(obj, "uses", 0))

    @admin.display(description="Next days")
    def days(self, obj: Calendar) -> SafeString | str:
        """The days of the next year, as far as stored; the first of them."""
        lines = islice(_lines(obj), DAYS_SHOWN)
        return format_html_join("", "{}<br>", ((line,) for line in lines)) or "None within a year."

    @admin.display(description="Schedules")
    def used_by(self, obj: Calendar) -> SafeString | str:
        """With links to their pages."""
        if not obj.pk:
            return "-"
        labels: dict[str, str] = dict(CALENDAR_KIND_LABELS)
        links = obj.schedules.order_by("schedule__name").values_list("schedule", "schedule__name", "kind")
        rows = (
            (page_url("django_celery_beat_periodictask_change", pk), name, labels[kind])
            for pk, name, kind in links[:MAX_SCHEDULES]
        )
        found = format_html_join("", '<a href="{}">{}</a> ({})<br>', rows)
        if one := naming_calendars().get(obj.name):
            text = "Its name is in the code: schedule {} of the job {}."
            found += format_html(text, one.name, one.job.name)
        return found or "None."

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        super().save_model(request, obj, form, change)
        if change and "name" in form.changed_data:
            self._warn_if_missing(request, form.initial["name"])

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        super().delete_model(request, obj)
        self._warn_if_missing(request, obj.name)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        names = [each.name for each in queryset]
        super().delete_queryset(request, queryset)
        for name in names:
            self._warn_if_missing(request, name)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Names the schedules that use the calendars, which keep them from being deleted."""
        calendars = list(objs)
        shown, counts, missing, _ = super().get_deleted_objects(calendars, request)
        users = PeriodicTask.objects.filter(calendars__calendar__in=calendars).order_by("name").distinct()
        names = users.values_list("name", flat=True)[:MAX_SCHEDULES]
        return shown, counts, missing, [f"Schedule {name}" for name in names]

    def _warn_if_missing(self, request: HttpRequest, name: str) -> None:
        """Tell the user if the code names a calendar that is gone now."""
        if one := naming_calendars().get(name):
            text = (
                f"The code names the calendar “{name}” (schedule {one.name} of the job {one.job.name}), "
                f"which no longer exists. {_effect_of_missing(name)}"
            )
            self.message_user(request, text, messages.WARNING)

    def readable(self, obj: Calendar) -> dict[str, str]:
        return {"Name": obj.name, "Description": obj.description, "Entries": obj.entries}


def _effect_of_missing(name: str) -> str:
    if name in declared_calendars():
        return "It is declared there too: the next `sync` adds it again."
    return "Until it is corrected there, `sync` changes nothing."


def _lines(obj: Calendar) -> Iterator[str]:
    for day, span in _covered(obj):
        times = (
            "" if span.end - span.begin == DAY_MINUTES else f", {_clock(span.begin)} to {_clock(span.end)}"
        )
        yield f"{day:%a %Y-%m-%d}{times}: {span.name}"


def _covered(obj: Calendar) -> Iterator[tuple[date, Span]]:
    """The days from today on that it covers, and in which parts; none if it is not valid."""
    try:
        found = calendar(obj.name, obj.entries)
    except CalendarError:
        return
    today = timezone.localdate()
    for number in range(LAST_DAY.days):
        day = today + timedelta(days=number)
        yield from ((day, span) for span in found.spans(day))


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
