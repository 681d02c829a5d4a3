"""The list of schedules: its filters, and its columns (when each is due, its status, how its last runs went).

A page costs the same number of queries whatever the number of schedules and runs. Everything that the columns
show is read only when a page is shown: an action redirects without it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, OrderBy, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.admin import display, pauses, recent_runs, rights
from jobledger.admin.display import RunUrls
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.admin.schedules import week
from jobledger.admin.schedules.status import RUNS_SHOWN, ScheduleOverview, overviews
from jobledger.jobs import registry
from jobledger.jobs.declaration import PausedSlots
from jobledger.models import Pause, Run, Status
from jobledger.schedules import pausing
from jobledger.schedules.stored_schedules import KINDS

RUN_COLUMNS = ("last_run", "last_runs")

Choices = Sequence[tuple[str, Any]]


class StatusFilter(admin.SimpleListFilter):
    """Enabled, disabled, paused by itself, broken."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, name) for name in ("enabled", "disabled", "paused", "broken")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        match self.value():
            case "enabled" | "disabled" as value:
                return queryset.filter(enabled=value == "enabled")
            case "paused":
                own = Pause.objects.active_at(timezone.now()).filter(schedule__isnull=False)
                return queryset.filter(pk__in=own.values("schedule"))
            case "broken":
                return queryset.filter(Q(next_slot__isnull=False) & ~Q(next_slot__broken=""))
        return queryset


class JobFilter(admin.SimpleListFilter):
    """The jobs and ordinary tasks that have schedules."""

    title = "job"
    parameter_name = "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        tasks = PeriodicTask.objects.order_by("task").values_list("task", flat=True).distinct()
        return sorted(((task, _job_name(task)) for task in tasks), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        task = self.value()
        if not task:
            return queryset
        # A URL may ask for what no schedule starts, and for what no database takes.
        return queryset.filter(task=task) if task in dict(self.lookup_choices) else queryset.none()


class KindFilter(admin.SimpleListFilter):
    """How the times are given."""

    title = "timing"
    parameter_name = "times"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return list(zip(KINDS, ("cron", "interval", "solar", "once"), strict=True))

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        kind = self.value()
        return queryset.filter(**{f"{kind}__isnull": False}) if kind in KINDS else queryset


class QueueFilter(admin.SimpleListFilter):
    """The queues that schedules name; not offered where none does."""

    title = "queue"
    parameter_name = "sent_to"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        named = PeriodicTask.objects.exclude(queue=None).exclude(queue="").order_by("queue")
        return [(queue, queue) for queue in named.values_list("queue", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        queue = self.value()
        if not queue:
            return queryset
        # A URL may ask for what no database takes.
        return queryset.filter(queue=queue) if queue in dict(self.lookup_choices) else queryset.none()


class LastRunFilter(admin.SimpleListFilter):
    """The status of the newest run: one step into an index for each schedule."""

    title = "last run"
    parameter_name = "last"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return Status.choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        if self.value() not in Status:
            return queryset
        newest = Run.objects.filter(schedule=OuterRef("pk")).order_by("-queued_at")
        newest_status = Subquery(newest.values("status")[:1])
        found: QuerySet[PeriodicTask] = queryset.alias(last=newest_status).filter(last=self.value())
        return found


class _NullsLast(OrderBy):
    """Schedules that are never due come last in either direction."""

    def reverse_ordering(self) -> OrderBy:
        self.descending = not self.descending
        return self


class ScheduleChangeList(ChangeList):
    """A page of schedules."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[PeriodicTask]:
        """Without joining the times: a row of them that cannot be read would hide the whole page."""
        found = super().get_queryset(request, exclude_parameters)
        return found.select_related(None).select_related("next_slot")

    @property
    def is_narrowed(self) -> bool:
        """Whether there is a search or a filter."""
        return bool(self.query) or any(each.value() for each in self.filter_specs)  # type: ignore[attr-defined]


class ScheduleList(ShownFiltersOnly, PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """The changelist."""

    list_display = ("name", "job", "times", "status", "next_run", *RUN_COLUMNS)
    list_filter = (StatusFilter, JobFilter, KindFilter, QueueFilter, LastRunFilter)
    search_fields = ("name", "task", "description")
    ordering = ("name",)
    date_hierarchy = None
    list_per_page = 100
    list_max_show_all = 0
    show_full_result_count = False
    change_list_template = "jobledger/schedules/list.html"

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ScheduleChangeList

    def get_list_display(self, request: HttpRequest) -> tuple[str, ...]:
        """Nothing about runs for users without permission to see them."""
        hidden = () if rights.may_view(request.user) else RUN_COLUMNS
        return tuple(column for column in self.list_display if column not in hidden)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Nor a filter by them."""
        may_see_runs = rights.may_view(request.user)
        return [each for each in self.list_filter if may_see_runs or each is not LastRunFilter]

    def get_urls(self) -> list[URLPattern]:
        """With those of the whole service's pause, and the week."""
        return [*pauses.urls(self.admin_site), *week.urls(self.admin_site), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page. An action without its permission is answered with 403; Django would ignore it."""
        if set(request.POST.getlist("action")) - set(self.get_actions(request)) - {""}:
            raise PermissionDenied
        # Not django-celery-beat's own, which warns about every scheduler but its own.
        response = admin.ModelAdmin.changelist_view(
            self, request, {"title": "Schedules", **(extra_context or {})}
        )
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            self._read_page(request, response)
        return response

    def action_checkbox(self, schedule: PeriodicTask) -> SafeString:
        """Labelled with the schedule's name alone: its ``str()`` reads its times."""
        attributes = {"class": "action-select", "aria-label": f"Select {schedule.name}"}
        box = forms.CheckboxInput(attributes, check_test=lambda _value: False)
        return box.render(helpers.ACTION_CHECKBOX_NAME, str(schedule.pk))

    @admin.display(description="job", ordering="task")
    def job(self, schedule: PeriodicTask) -> str:
        """A link to the job's page for users who may see runs."""
        name = _job_name(schedule.task)
        if name == schedule.task or not _overview(schedule).shows_runs:
            return name
        return format_html('<a href="{}">{}</a>', reverse("admin:jobledger_job", args=[name]), name)

    @admin.display(description="timing")
    def times(self, schedule: PeriodicTask) -> str:
        return _overview(schedule).times

    @admin.display(description="status")
    def status(self, schedule: PeriodicTask) -> SafeString:
        """With the reason; one that is disabled or broken may be paused as well."""
        overview = _overview(schedule)
        parts = [_with_note(overview.mark, _pause_note(overview) if overview.is_paused else overview.broken)]
        if overview.pauses and not overview.is_paused:
            parts.append(_with_note(display.mark("paused", "paused"), _pause_note(overview)))
        return format_html_join("", "<div>{}</div>", ((part,) for part in parts))

    @admin.display(description="next run", ordering=_NullsLast(F("next_slot__slot"), nulls_last=True))
    def next_run(self, schedule: PeriodicTask) -> SafeString:
        """The relative time, and the exact one in the schedule's own zone."""
        overview = _overview(schedule)
        if not overview.is_enabled or overview.broken:
            return _quiet("-")
        if overview.next_slot is None:
            return _quiet("not known yet")
        if overview.next_slot.slot is None:
            return _quiet("no more runs")
        return _next_run(overview, overview.next_slot.slot)

    @admin.display(description="last run")
    def last_run(self, schedule: PeriodicTask) -> SafeString:
        """Its status, with a link to it."""
        overview = _overview(schedule)
        run = overview.last_run
        if run is None:
            return _quiet("none yet")
        took = run.took(overview.now)
        return format_html(
            '<a href="{}">{}</a>{}<div class="note">{}</div>',
            display.run_url(run.id),
            overview.last_run_mark,
            "" if took is None else f" {formats.duration(took)}",
            overview.last_run_time,
        )

    @admin.display(description="recent runs")
    def last_runs(self, schedule: PeriodicTask) -> SafeString:
        """A sparkline that links to all of them."""
        overview = _overview(schedule)
        if not overview.runs:
            return _quiet("-")
        all_runs = RunUrls().filtered(schedule=schedule.name)
        picture = recent_runs.sparkline(overview.runs, overview.now, places=RUNS_SHOWN)
        runs = format_html('<a href="{}">{}</a>', all_runs, picture)
        if not overview.problems:
            return runs
        url, text = overview.problems_url, f"{overview.problems} failed or missed"
        return format_html('{}<a class="note problems" href="{}">{}</a>', runs, url, text)

    def _read_page(self, request: HttpRequest, response: TemplateResponse) -> None:
        """What the page shows of its schedules and of the service."""
        now, page = timezone.now(), response.context_data["cl"]  # type: ignore[index]  # looked at above
        page.result_list = list(page.result_list)
        found = overviews(page.result_list, now, with_runs=rights.may_view(request.user))
        for schedule in page.result_list:
            schedule.overview = found[schedule.pk]
        response.context_data["service"] = pauses.service_pause(request, now)  # type: ignore[index]


def _job_name(task: str) -> str:
    """The name of the job whose task it is; an ordinary task's own."""
    job = registry.of_task(task)
    return job.name if job else task


def _overview(schedule: PeriodicTask) -> ScheduleOverview:
    overview: ScheduleOverview = schedule.overview
    return overview


def _next_run(overview: ScheduleOverview, slot: datetime) -> SafeString:
    local = slot.astimezone(overview.zone)
    local_format = "%Y-%m-%d %H:%M:%S %Z" if local.second else "%Y-%m-%d %H:%M %Z"
    pause, relative = overview.pause_of_next_slot, formats.relative(slot, overview.now)
    return format_html(
        '<time datetime="{}" title="{}">{}<span class="note">{}</span></time>{}',
        slot.isoformat(),
        formats.exact(slot),
        relative if slot > overview.now else f"due {relative}",
        local.strftime(local_format),
        "" if pause is None else format_html('<div class="note">{}</div>', _effect(pause)),
    )


def _effect(pause: Pause) -> str:
    """What the pause does to the next run."""
    return "will be skipped" if pause.on_resume == PausedSlots.SKIP else "held until the pause ends"


def _pause_note(overview: ScheduleOverview) -> str:
    """Its own pause's terms; those of the service's pause are at the top of the page."""
    if not overview.is_paused_by_itself:
        return "whole service"
    return pausing.terms_of(overview.pauses[0], overview.now)


def _with_note(mark: SafeString, note: str) -> SafeString:
    return format_html('{}<div class="note">{}</div>', mark, note) if note else mark


def _quiet(text: str) -> SafeString:
    return format_html('<span class="quiet">{}</span>', text)
