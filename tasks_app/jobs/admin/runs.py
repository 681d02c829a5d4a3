"""Runs in the admin: read, cancelled and started again, never edited.

Whoever may look at runs may not yet cancel or start them: for that there are permissions of their own.
"""

import json
from itertools import groupby
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from tasks_app.jobs.admin import marks
from tasks_app.jobs.defining import secrets
from tasks_app.jobs.models import Run, RunAttempt, RunOutput, Status, Trigger
from tasks_app.jobs.running import again, overlap, progress_figures


class RunAttemptInline(admin.StackedInline):  # type: ignore[type-arg]  # generic for the type checker alone
    """The attempts of a run before its last."""

    model = RunAttempt
    ordering = ("attempt",)
    verbose_name_plural = _("earlier attempts")
    extra = 0
    can_delete = False
    fields = (("status", "exit_code"), ("started_at", "finished_at", "worker"), "error", "traceback_text")
    readonly_fields = ("traceback_text",)

    def has_view_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Whoever sees the run sees how it came about."""
        return request.user.has_perm("jobs.view_run")

    def has_add_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """They are made by failing."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """What happened cannot be edited."""
        return False

    @admin.display(description=_("traceback"))
    def traceback_text(self, attempt: RunAttempt) -> SafeString:
        """The traceback, with its lines."""
        return _preformatted(attempt.traceback)


@admin.register(Run)
class RunAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic for the type checker alone
    """The ledger: newest first, filtered, and each run with its output."""

    list_display = ("short_id", "job", "state", "trigger", "schedule_name", "queued_at", "took", "error_line")
    list_display_links = ("short_id", "job")
    list_filter = ("status", "trigger", "job")
    search_fields = ("=id", "job", "schedule_name")
    ordering = ("-queued_at", "-id")
    date_hierarchy = None
    show_full_result_count = False
    list_per_page = 50
    actions = ("cancel_runs",)
    fieldsets = (
        (None, {"fields": ("job", "state", "error", "options_text", "output_text", "traceback_text")}),
        (_("Start"), {"fields": ("trigger", "who", "schedule", "schedule_name", "scheduled_for", "parent")}),
        (_("Times"), {"fields": ("queued_at", "started_at", "finished_at", "took")}),
        (_("Execution"), {"fields": ("id", "attempt", "worker", "exit_code", "progress", "cancelled_by")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Run]:
        """Without the long texts, which the list does not show."""
        return super().get_queryset(request).defer("traceback")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are made by starting jobs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """What happened cannot be edited."""
        return False

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Whether this user may cancel runs."""
        return request.user.has_perm("jobs.cancel_run")

    def has_start_permission(self, request: HttpRequest) -> bool:
        """Whether this user may start jobs."""
        return request.user.has_perm("jobs.start_run")

    def get_inlines(self, request: HttpRequest, obj: Run | None) -> Any:
        """No heading where there was one attempt only."""
        return [RunAttemptInline] if obj is not None and obj.attempts.exists() else []

    def get_urls(self) -> list[URLPattern]:
        """A run's page, and where its buttons go."""
        buttons = [
            path(f"<uuid:run_id>/{name}/", self.admin_site.admin_view(view), name=f"jobs_run_{name}")
            for name, view in (("cancel", self.cancel_view), ("start_again", self.start_again_view))
        ]
        return [*buttons, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The run's page, with the buttons that do something to it and that this user may press."""
        run = self.get_object(request, object_id)
        is_final = run is not None and Status(run.status).is_final
        buttons = {
            "can_cancel": not is_final and self.has_cancel_permission(request),
            "can_start_again": is_final and self.has_start_permission(request),
        }
        return super().change_view(request, object_id, form_url, {**(extra_context or {}), **buttons})

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Cancel the run; back to its page."""
        run = self._seen(request, run_id, may=self.has_cancel_permission(request))
        if self._cancel(request, run):
            run.refresh_from_db(fields=["status"])
            is_running = run.status == Status.RUNNING
            said = _("The run ends within a few seconds.") if is_running else _("The run is cancelled.")
            self.message_user(request, said, messages.SUCCESS)
        else:
            said = _("The run is over, or was already asked to end.")
            self.message_user(request, said, messages.WARNING)
        return _to_page_of(run)

    @method_decorator(require_POST)
    def start_again_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Start a new run that does the same; on to its page."""
        run = self._seen(request, run_id, may=self.has_start_permission(request))
        who, user_id = request.user.get_username(), request.user.pk
        try:
            new = again.start_again(run, trigger=Trigger.ADMIN, who=who, user_id=user_id)
        except again.NotStartedAgainError as error:
            self.message_user(request, str(error), messages.ERROR)
            return _to_page_of(run)
        self.log_change(request, run, f"Started again as run {new.pk}.")
        self.message_user(request, _("This run was started."), messages.SUCCESS)
        return _to_page_of(new)

    @admin.action(description=_("Cancel selected runs"), permissions=["cancel"])
    def cancel_runs(self, request: HttpRequest, queryset: QuerySet[Run]) -> None:
        """Those that are over stay as they are."""
        live = queryset.filter(status__in=(Status.QUEUED, Status.RUNNING))
        count = sum(self._cancel(request, run) for run in live)
        text = ngettext("%d run was asked to end.", "%d runs were asked to end.", count) % count
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)

    def _seen(self, request: HttpRequest, run_id: UUID, *, may: bool) -> Run:
        """The run, for somebody who sees it and may do this to it."""
        run = get_object_or_404(self.get_queryset(request), pk=run_id)
        if not (may and self.has_view_permission(request, run)):
            raise PermissionDenied
        return run

    def _cancel(self, request: HttpRequest, run: Run) -> bool:
        is_asked = overlap.request_cancel(run, request.user.get_username(), timezone.now())
        if is_asked:
            self.log_change(request, run, "Cancelled.")
        return is_asked

    @admin.display(description=_("run"), ordering="queued_at")
    def short_id(self, run: Run) -> str:
        """The beginning of the id."""
        return str(run.pk)[:8]

    @admin.display(description=_("status"), ordering="status")
    def state(self, run: Run) -> SafeString:
        """The state in a word, with a mark that needs no colour."""
        return marks.of_status(run.status)

    @admin.display(description=_("took"))
    def took(self, run: Run) -> str:
        """How long it ran."""
        if not (run.started_at and run.finished_at):
            return ""
        return f"{(run.finished_at - run.started_at).total_seconds():.1f} s"

    @admin.display(description=_("error"))
    def error_line(self, run: Run) -> str:
        """The error's first line."""
        return run.error.partition("\n")[0][:120]

    @admin.display(description=_("options"))
    def options_text(self, run: Run) -> str:
        """The options, secrets masked."""
        return json.dumps(secrets.masked(run.job, run.options), ensure_ascii=False)

    @admin.display(description=_("output"))
    def output_text(self, run: Run) -> SafeString:
        """Everything it wrote, as data: markup in it is shown, not interpreted."""
        pieces = RunOutput.objects.filter(run=run).in_order().values_list("attempt", "text")
        by_attempt = groupby(pieces, key=lambda piece: piece[0])
        texts = [(attempt, "".join(text for _attempt, text in group)) for attempt, group in by_attempt]
        if run.attempt == 1:
            return _preformatted("".join(text for _attempt, text in texts))
        heading = _("attempt")
        return format_html_join(
            "", "<strong>{} {}</strong><pre>{}</pre>", ((heading, attempt, text) for attempt, text in texts)
        )

    @admin.display(description=_("progress"))
    def progress(self, run: Run) -> str:
        """How far it has come."""
        return progress_figures.described(run)

    @admin.display(description=_("traceback"))
    def traceback_text(self, run: Run) -> SafeString:
        """The traceback, with its lines."""
        return _preformatted(run.traceback)


def _preformatted(text: str) -> SafeString:
    return format_html("<pre>{}</pre>", text) if text else format_html("{}", "-")


def _to_page_of(run: Run) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:jobs_run_change", args=[run.pk]))
