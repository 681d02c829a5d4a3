"""The list of schedules: its filters, and its columns (timing, status, next run and recent runs).

The number of queries does not depend on the number of schedules and runs. The data of the columns is read
only if the page is rendered; an action redirects without it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, OrderBy, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern
from django.utils import timezone
from django.utils.safestring import SafeString
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.admin import pauses, recent_runs, rights
from jobledger.admin.filters import ShownFiltersOnly
from jobledger.admin.markup import filled, filled_with_each
from jobledger.admin.schedules import week
from jobledger.admin.schedules.origin import Origin, from_code, origins
from jobledger.admin.schedules.status import RUNS_SHOWN, ScheduleOverview, overviews
from jobledger.admin.schedules.table import COLUMNS, RUN_COLUMNS, ScheduleChangeList
from jobledger.jobs import registry
from jobledger.jobs.declaration import PausedSlots
from jobledger.models import DeclaredSchedule, Pause, Run, Status
from jobledger.schedules import pausing
from jobledger.schedules.stored_schedules import KINDS

Choices = Sequence[tuple[str, Any]]


class StatusFilter(admin.SimpleListFilter):
    """Enabled, disabled, individually paused or broken."""

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
    """The jobs and ordinary Celery tasks that have schedules."""

    title = "job"
    parameter_name = "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        tasks = PeriodicTask.objects.order_by("task").values_list("task", flat=True).distinct()
        return sorted(((task, _job_name(task)) for task in tasks), key=lambda choice: choice[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        task = self.value()
        if not task:
            return queryset
        # The value in the URL may be a task without schedules, or text that the database rejects.
        return queryset.filter(task=task) if task in dict(self.lookup_choices) else queryset.none()


class KindFilter(admin.SimpleListFilter):
    """The type of timing."""

    title = "timing"
    parameter_name = "times"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return list(zip(KINDS, ("cron", "interval", "solar", "once"), strict=True))

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        kind = self.value()
        return queryset.filter(**{f"{kind}__isnull": False}) if kind in KINDS else queryset


class OriginFilter(admin.SimpleListFilter):
    """Made in the admin, or declared in code; and what has been changed in both, or is no longer declared."""

    title = "origin"
    parameter_name = "origin"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [("code", "code"), ("admin", "admin"), ("drift", "drift"), ("orphaned", "no longer declared")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        linked = DeclaredSchedule.objects.filter(schedule__isnull=False).values("schedule")
        match self.value():
            case "code":
                return queryset.filter(pk__in=linked)
            case "admin":
                return queryset.exclude(pk__in=linked)
            case "drift":
                return queryset.filter(pk__in=[pk for pk, origin in from_code().items() if origin.drift])
            case "orphaned":
                return queryset.filter(
                    pk__in=[pk for pk, origin in from_code().items() if origin.is_orphaned]
                )
        return queryset


class QueueFilter(admin.SimpleListFilter):
    """The queues that schedules use; hidden if there are none."""

    title = "queue"
    parameter_name = "sent_to"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        with_queue = PeriodicTask.objects.exclude(queue=None).exclude(queue="").order_by("queue")
        return [(queue, queue) for queue in with_queue.values_list("queue", flat=True).distinct()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> QuerySet[PeriodicTask]:
        queue = self.value()
        if not queue:
            return queryset
        # The value in the URL may be text that the database rejects.
        return queryset.filter(queue=queue) if queue in dict(self.lookup_choices) else queryset.none()


class LastRunFilter(admin.SimpleListFilter):
    """The status of the newest run, which takes one index lookup per schedule."""

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
    """Sorts schedules that are never due last in both directions."""

    def reverse_ordering(self) -> OrderBy:
        self.descending = not self.descending
        return self


class ScheduleList(ShownFiltersOnly, PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    list_display = COLUMNS
    list_filter = (StatusFilter, JobFilter, KindFilter, OriginFilter, QueueFilter, LastRunFilter)
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
        """Hides the columns about runs from users without permission to view runs."""
        hidden = () if rights.may_view(request.user) else RUN_COLUMNS
        return tuple(column for column in self.list_display if column not in hidden)

    def get_list_filter(self, request: HttpRequest) -> Any:
        """Hides the filter by last run from users without permission to view runs."""
        may_see_runs = rights.may_view(request.user)
        return [each for each in self.list_filter if may_see_runs or each is not LastRunFilter]

    def get_urls(self) -> list[URLPattern]:
        return [*pauses.urls(self.admin_site), *week.urls(self.admin_site), *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Responds with 403 to an action without permission, which Django would ignore."""
        if set(request.POST.getlist("action")) - set(self.get_actions(request)) - {""}:
            raise PermissionDenied
        # Skips django-celery-beat's view, which warns about every scheduler other than its own.
        response = admin.ModelAdmin.changelist_view(
            self, request, {"title": "Schedules", **(extra_context or {})}
        )
        if isinstance(response, TemplateResponse) and "cl" in (response.context_data or {}):
            self._add_page_data(request, response)
        return response

    def action_checkbox(self, schedule: PeriodicTask) -> SafeString:
        """Labelled with the schedule's name, because its ``str()`` would read the timing."""
        # A widget would render a template for each row.
        return filled(
            '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="Select {}">',
            helpers.ACTION_CHECKBOX_NAME,
            schedule.pk,
            schedule.name,
        )

    @admin.display(description="job", ordering="task")
    def job(self, schedule: PeriodicTask) -> str:
        """Links to the job's page if the user may view runs."""
        name = _job_name(schedule.task)
        if name == schedule.task or not _overview(schedule).shows_runs:
            return name
        return filled('<a href="{}">{}</a>', _overview(schedule).urls.job(name), name)

    @admin.display(description="timing")
    def times(self, schedule: PeriodicTask) -> str:
        return _overview(schedule).times

    @admin.display(description="origin")
    def origin(self, schedule: PeriodicTask) -> SafeString:
        """The code or the admin, with the fields that were changed in both."""
        found: Origin | None = schedule.origin
        if found is None:
            return _quiet("admin")
        if found.is_orphaned:
            return _with_note(SafeString("code"), "no longer declared")
        drift = filled('<div class="note drift">drift: {}</div>', found.drift) if found.drift else ""
        edited = f"edited: {found.edited}" if found.edited else ""
        notes = [found.environment, edited]
        shown = filled_with_each('<div class="note">{}</div>', filter(None, notes))
        return filled("code{}{}", drift, shown)

    @admin.display(description="status")
    def status(self, schedule: PeriodicTask) -> SafeString:
        """The status with its reason. A disabled or broken schedule may be paused as well."""
        overview = _overview(schedule)
        parts = [_with_note(overview.mark, _pause_note(overview) if overview.is_paused else overview.broken)]
        if overview.pauses and not overview.is_paused:
            parts.append(_with_note(overview.paused_mark, _pause_note(overview)))
        return filled_with_each("<div>{}</div>", parts)

    @admin.display(description="next run", ordering=_NullsLast(F("next_slot__slot"), nulls_last=True))
    def next_run(self, schedule: PeriodicTask) -> SafeString:
        """The relative time, and the exact time in the schedule's time zone."""
        overview = _overview(schedule)
        if not overview.is_enabled or overview.broken:
            return _quiet("-")
        if overview.next_slot is None:
            return _quiet("not known yet")
        if overview.is_chained:
            return _quiet("after others")
        if overview.next_slot.slot is None:
            return _quiet("no more runs")
        return _next_run(overview, overview.next_slot.slot)

    @admin.display(description="last run")
    def last_run(self, schedule: PeriodicTask) -> SafeString:
        """The status of the last run, with a link."""
        overview = _overview(schedule)
        run = overview.last_run
        if run is None:
            return _quiet("none yet")
        took = run.took(overview.now)
        return filled(
            '<a href="{}">{}</a>{}<div class="note">{}</div>',
            overview.last_run_url,
            overview.last_run_mark,
            "" if took is None else f" {formats.duration(took)}",
            overview.last_run_time,
        )

    @admin.display(description="recent runs")
    def last_runs(self, schedule: PeriodicTask) -> SafeString:
        """A sparkline that links to all runs of the schedule."""
        overview = _overview(schedule)
        if not overview.runs:
            return _quiet("-")
        now, zone = overview.now, overview.page_zone
        sparkline = recent_runs.sparkline(overview.runs, now, zone, places=RUNS_SHOWN)
        runs = filled('<a href="{}">{}</a>', overview.all_runs_url, sparkline)
        if not overview.problems:
            return runs
        url, text = overview.problems_url, f"{overview.problems} failed or missed"
        return filled('{}<a class="note problems" href="{}">{}</a>', runs, url, text)

    def _add_page_data(self, request: HttpRequest, response: TemplateResponse) -> None:
        """Adds the overviews of the schedules and the pause of the service."""
        now, page = timezone.now(), response.context_data["cl"]  # type: ignore[index]  # checked above
        page.result_list = list(page.result_list)
        found = overviews(page.result_list, now, with_runs=rights.may_view(request.user))
        declared = origins(page.result_list)
        for schedule in page.result_list:
            schedule.overview, schedule.origin = found[schedule.pk], declared.get(schedule.pk)
        response.context_data["may_see_calendars"] = rights.may_view_calendars(request.user)  # type: ignore[index]
        response.context_data["service"] = pauses.service_pause(request, now)  # type: ignore[index]


def _job_name(task: str) -> str:
    """The name of the task's job, or of the task itself if it is an ordinary Celery task."""
    job = registry.of_task(task)
    return job.name if job else task


def _overview(schedule: PeriodicTask) -> ScheduleOverview:
    overview: ScheduleOverview = schedule.overview
    return overview


def _next_run(overview: ScheduleOverview, slot: datetime) -> SafeString:
    local = slot.astimezone(overview.zone)
    local_format = "%Y-%m-%d %H:%M:%S %Z" if local.second else "%Y-%m-%d %H:%M %Z"
    pause, relative = overview.pause_of_next_slot, formats.relative(slot, overview.now)
    return filled(
        '<time datetime="{}" title="{}">{}<span class="note">{}</span></time>{}',
        slot.isoformat(),
        formats.exact(slot, overview.page_zone),
        relative if slot > overview.now else f"due {relative}",
        local.strftime(local_format),
        "" if pause is None else filled('<div class="note">{}</div>', _effect(pause)),
    )


def _effect(pause: Pause) -> str:
    """The effect of the pause on the next run."""
    return "will be skipped" if pause.on_resume == PausedSlots.SKIP else "held until the pause ends"


def _pause_note(overview: ScheduleOverview) -> str:
    """The terms of the schedule's own pause. Those of a service pause are at the top of the page."""
    if not overview.is_paused_by_itself:
        return "whole service"
    return pausing.terms_of(overview.pauses[0], overview.now)


def _with_note(mark: SafeString, note: str) -> SafeString:
    return filled('{}<div class="note">{}</div>', mark, note) if note else mark


def _quiet(text: str) -> SafeString:
    return filled('<span class="quiet">{}</span>', text)
