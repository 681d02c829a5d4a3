"""Runs in the admin: read, never edited."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from tasks_app.jobs.models import Run, RunOutput, Status

MARKS = {
    Status.QUEUED: "○",
    Status.RUNNING: "▶",
    Status.SUCCEEDED: "✔",
    Status.FAILED: "✘",
    Status.TIMED_OUT: "⧖",
    Status.LOST: "⚡",
    Status.CANCELLED: "■",
    Status.SKIPPED: "↷",
    Status.EXPIRED: "⌛",
    Status.MISSED: "∅",
    Status.SENT: "→",
}


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
    fieldsets = (
        (None, {"fields": ("job", "state", "error", "options", "output_text", "traceback_text")}),
        (_("Start"), {"fields": ("trigger", "who", "schedule", "schedule_name", "scheduled_for", "parent")}),
        (_("Times"), {"fields": ("queued_at", "started_at", "finished_at", "took")}),
        (_("Execution"), {"fields": ("id", "attempt", "worker", "exit_code")}),
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

    @admin.display(description=_("run"), ordering="queued_at")
    def short_id(self, run: Run) -> str:
        """The beginning of the id."""
        return str(run.pk)[:8]

    @admin.display(description=_("status"), ordering="status")
    def state(self, run: Run) -> str:
        """The state in a word, with a mark that needs no colour."""
        status = Status(run.status)
        return f"{MARKS[status]} {status.label}"

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

    @admin.display(description=_("output"))
    def output_text(self, run: Run) -> SafeString:
        """Everything it wrote, as data: markup in it is shown, not interpreted."""
        return _preformatted(
            "".join(RunOutput.objects.filter(run=run).in_order().values_list("text", flat=True))
        )

    @admin.display(description=_("traceback"))
    def traceback_text(self, run: Run) -> SafeString:
        """The traceback, with its lines."""
        return _preformatted(run.traceback)


def _preformatted(text: str) -> SafeString:
    return format_html("<pre>{}</pre>", text) if text else format_html("{}", "-")
