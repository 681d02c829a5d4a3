"""The list of schedules: when each is due, how its last runs went, and what state it is in.

A page costs the same number of queries whatever the number of schedules and runs.
"""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, OrderBy, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from jobledger.admin import display, pauses, rights
from jobledger.admin.display import RunAddresses
from jobledger.admin.fields import number_in
from jobledger.admin.schedules import sparkline, status
from jobledger.admin.schedules.filters import JobFilter, KindFilter, LastStatusFilter, StateFilter, job_name
from jobledger.admin.schedules.status import Row
from jobledger.models import Pause
from jobledger.schedules.planning.policy import PausedSlots

OF_RUNS = ("last_run", "last_runs")


class _NullsLast(OrderBy):
    """Whichever way it is sorted, what is never due comes last."""

    def reverse_ordering(self) -> OrderBy:
        self.descending = not self.descending
        return self


class ScheduleChangeList(ChangeList):
    """A page of schedules, each with its ``row``."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[PeriodicTask]:
        """Without joining the times: a row of them that cannot be read would hide the whole page."""
        found = super().get_queryset(request, exclude_parameters)
        return found.select_related(None).select_related("next_slot")

    def get_results(self, request: HttpRequest) -> None:
        """The page, read at once."""
        super().get_results(request)
        schedules = list(self.result_list)
        rows = status.of(schedules, timezone.now(), with_runs=rights.may_view(request.user))
        for schedule in schedules:
            schedule.row = rows[schedule.pk]
        self.result_list = schedules

    @property
    def is_narrowed(self) -> bool:
        """Whether somebody searched or filtered."""
        return bool(self.query) or any(each.value() for each in self.filter_specs)  # type: ignore[attr-defined]


class ScheduleList(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """The list's columns, filters, order and addresses."""

    list_display = ("name", "job", "times", "state", "due", *OF_RUNS)
    list_filter = (StateFilter, JobFilter, KindFilter, LastStatusFilter)
    search_fields = ("name", "task", "description")
    ordering = ("name",)
    date_hierarchy = None
    list_per_page = 100
    list_max_show_all = 0
    show_full_result_count = False
    change_list_template = "jobledger/schedules/list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """With what the columns show."""
        return ScheduleChangeList

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Nothing of runs for who may not see runs."""
        hidden = () if rights.may_view(request.user) else OF_RUNS
        return tuple(column for column in self.list_display if column not in hidden)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Nor a filter by them."""
        may_see_runs = rights.may_view(request.user)
        return [each for each in self.list_filter if may_see_runs or each is not LastStatusFilter]

    def get_urls(self) -> list[URLPattern]:
        """With those of the whole service's pause."""
        return [*pauses.urls(self.admin_site), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page; an action that the user may not take is refused, not passed over."""
        asked = set(request.POST.getlist("action")[self._button(request)])
        if asked - set(self.get_actions(request)) - {""}:
            raise PermissionDenied
        context = {
            "title": "Schedules",
            "service": pauses.of(request, timezone.now()),
            **(extra_context or {}),
        }
        # Not django-celery-beat's own, which warns of every scheduler but its own.
        return admin.ModelAdmin.changelist_view(self, request, context)

    def action_checkbox(self, schedule: PeriodicTask) -> SafeString:
        """Named after the schedule alone: a schedule's own text reads its times."""
        attributes = {"class": "action-select", "aria-label": f"Select {schedule.name}"}
        box = forms.CheckboxInput(attributes, check_test=lambda _value: False)
        return box.render(helpers.ACTION_CHECKBOX_NAME, str(schedule.pk))

    @admin.display(description="job", ordering="task")
    def job(self, schedule: PeriodicTask) -> str:
        """What it starts; a job has a page for who may see runs."""
        name = job_name(schedule.task)
        if name == schedule.task or not _row(schedule).shows_runs:
            return name
        return format_html('<a href="{}">{}</a>', reverse("admin:jobledger_job", args=[name]), name)

    @admin.display(description="times")
    def times(self, schedule: PeriodicTask) -> str:
        """When, in plain language."""
        return _row(schedule).times

    @admin.display(description="state")
    def state(self, schedule: PeriodicTask) -> SafeString:
        """On, off, broken or paused, and why."""
        row = _row(schedule)
        parts = [_pause(pause, row.now) for pause in row.pauses[:1]]
        if not (parts and row.standing.can_be_paused):
            parts.insert(0, _noted(display.mark(row.standing.value, row.standing.label), row.broken))
        return format_html_join("", "<div>{}</div>", ((part,) for part in parts))

    @admin.display(description="next slot", ordering=_NullsLast(F("next_slot__slot"), nulls_last=True))
    def due(self, schedule: PeriodicTask) -> SafeString:
        """How far away it is, and when exactly in the schedule's own zone."""
        row = _row(schedule)
        if not row.is_on or row.broken:
            return _quiet("-")
        if row.next_slot is None:
            return _quiet("not known yet")
        if row.next_slot.slot is None:
            return _quiet("never again")
        return _slot(row, row.next_slot.slot)

    @admin.display(description="last run")
    def last_run(self, schedule: PeriodicTask) -> SafeString:
        """How the newest run stands, with a link to it."""
        row = _row(schedule)
        if not row.runs:
            return _quiet("none yet")
        run = row.runs[0]
        took = run.took(row.now)
        return format_html(
            '<a href="{}">{}</a>{}<div class="note">{}</div>',
            reverse("admin:jobledger_run_change", args=[run.id]),
            display.of_status(run.status),
            "" if took is None else f" {display.duration(took)}",
            display.when(run.moment, row.now),
        )

    @admin.display(description="last runs")
    def last_runs(self, schedule: PeriodicTask) -> SafeString:
        """The last runs as a picture, which leads to all of them."""
        row = _row(schedule)
        if not row.runs:
            return _quiet("-")
        all_runs = RunAddresses().runs(schedule=schedule.name)
        picture = sparkline.picture(row.runs, row.now, places=status.RUNS_SHOWN)
        return format_html('<a href="{}">{}</a>', all_runs, picture)

    def _button(self, request: HttpRequest) -> slice:
        """Which of the actions of the form was chosen, as Django sees it."""
        first = number_in(request.POST.get("index", "")) or 0
        return slice(first, first + 1)


def _row(schedule: PeriodicTask) -> Row:
    row: Row = schedule.row
    return row


def _slot(row: Row, slot: datetime) -> SafeString:
    local = slot.astimezone(row.zone)
    form = "%Y-%m-%d %H:%M:%S %Z" if local.second else "%Y-%m-%d %H:%M %Z"
    pause, relative = row.pause_of_next_slot, display.relative(slot, row.now)
    return format_html(
        '<time datetime="{}" title="{}">{}<span class="note">{}</span></time>{}',
        slot.isoformat(),
        display.exact(slot),
        relative if slot > row.now else f"due {relative}",
        local.strftime(form),
        "" if pause is None else format_html('<div class="note">{}</div>', _fate(pause)),
    )


def _fate(pause: Pause) -> Any:
    if pause.on_resume == PausedSlots.SKIP:
        return "will be skipped"
    return "held until the pause ends"


def _pause(pause: Pause, now: datetime) -> SafeString:
    mark = display.mark("paused", "paused")
    if pause.schedule_id is None:
        # The top of the page says the rest, once for all.
        return _noted(mark, "with the whole service")
    parts = [
        _until(pause, now),
        format_html(" {} {}", "by", pause.who) if pause.who else "",
        f": {pause.reason}" if pause.reason else "",
    ]
    return _noted(mark, format_html_join("", "{}", ((part,) for part in parts)))


def _until(pause: Pause, now: datetime) -> Any:
    if pause.until is None:
        return "until somebody resumes it"
    return format_html("{} {}", "ends", display.when(pause.until, now))


def _noted(mark: SafeString, note: Any) -> SafeString:
    return format_html('{}<div class="note">{}</div>', mark, note) if note else mark


def _quiet(text: Any) -> SafeString:
    return format_html('<span class="quiet">{}</span>', text)
