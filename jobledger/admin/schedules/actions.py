"""Actions of the list of schedules: run now, pause, resume, enable and disable, and export.

Each action requires its own permission. One that changes schedules makes its changes in one transaction, and
adds an entry to the audit log of every schedule that it changes. Pausing schedules, and running many of them,
requires confirmation on a separate page, which posts the same action again with the user's input.
"""

from collections.abc import Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django_celery_beat.models import PeriodicTask

from jobledger import clock
from jobledger.admin import display, pauses, rights
from jobledger.admin.pauses import PauseForm
from jobledger.admin.schedules.changes import run_now, set_enabled
from jobledger.admin.schedules.deletion import CONFIRMED, NAMES_SHOWN, ScheduleDeletion
from jobledger.models import Run
from jobledger.schedules import pausing
from jobledger.schedules.documents import NotRepresentableError, all_documents, calendar_documents
from jobledger.schedules.documents.files import JSON, file_text
from jobledger.schedules.due.slot_runs import BrokenScheduleError

STARTED_AT_ONCE = 10
"""More than this are started only after a confirmation."""
MAX_STARTED = 100


class ScheduleActions(ScheduleDeletion):
    actions = (
        *("run_tasks", "pause_schedules", "resume_schedules", "enable_tasks", "disable_tasks"),
        *("export_schedules", "delete_schedules"),
    )

    def has_start_permission(self, request: HttpRequest) -> bool:
        """Whether the user may start any job. The action checks the job of each schedule."""
        return rights.may_start_any(request.user)

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return rights.may_pause(request.user)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Excludes Django's delete action, whose single request may take too long."""
        actions: dict[str, Any] = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @admin.action(description="Run now", permissions=["start"])
    def run_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Start a run of each schedule now, even if it is disabled or paused."""
        count = queryset.count()
        if count > MAX_STARTED:
            self.message_user(
                request,
                f"Nothing was started: {count} schedules are selected, "
                f"but at most {MAX_STARTED} can be started at once.",
                messages.ERROR,
            )
            return None
        schedules = list(queryset)
        if len(schedules) > STARTED_AT_ONCE and CONFIRMED not in request.POST:
            return self._confirm(request, "run_tasks", schedules)
        self._start(request, schedules)
        return None

    @admin.action(description="Pause…", permissions=["pause"])
    def pause_schedules(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Ask for the end and the reason, then pause the schedules."""
        schedules = list(queryset)
        form = PauseForm(request.POST if CONFIRMED in request.POST else None, now=clock.now())
        if not form.is_valid():
            return self._confirm(request, "pause_schedules", schedules, form=form)
        pauses.pause_schedules(request.user, schedules, form.terms(request.user), form.now)
        self._report(request, "Paused", schedules)
        return None

    @admin.action(description="Resume", permissions=["pause"])
    def resume_schedules(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """End the schedules' own pauses."""
        now = clock.now()
        resumed = pauses.resume_schedules(request.user, list(queryset), now)
        self._report(request, "Resumed", resumed, if_none="None of these schedules is paused individually.")
        if pausing.active_pauses(None, now).exists():
            text = "The whole service is still paused: no schedule starts anything until it is resumed."
            self.message_user(request, f"{text} {pausing.exemptions()}".rstrip(), messages.WARNING)

    @admin.action(description="Enable", permissions=["change"])
    def enable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Enable the schedules from now on: runs that were due before are not caught up."""
        changed = set_enabled(request.user, queryset, enabled=True)
        self._report(request, "Enabled", changed, if_none="Already enabled.")

    @admin.action(description="Disable", permissions=["change"])
    def disable_tasks(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Disable the schedules. Their last run times are kept."""
        changed = set_enabled(request.user, queryset, enabled=False)
        self._report(request, "Disabled", changed, if_none="Already disabled.")

    @admin.action(description="Export as JSON", permissions=["change"])
    def export_schedules(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse:
        """Download a file from which the schedules can be imported, with secrets masked."""
        found = dict(all_documents(queryset))
        valid = {name: each for name, each in found.items() if not isinstance(each, NotRepresentableError)}
        for name in found.keys() - valid.keys():
            self.message_user(request, f"“{name}” was not exported: {found[name]}.", messages.ERROR)
        disposition = {"Content-Disposition": 'attachment; filename="schedules.json"'}
        text = file_text(valid, JSON, calendars=calendar_documents(valid.values()))
        return HttpResponse(text, content_type="application/json; charset=utf-8", headers=disposition)

    def _start(self, request: HttpRequest, schedules: Sequence[PeriodicTask]) -> None:
        started: list[Run] = []
        forbidden: list[PeriodicTask] = []
        broken: list[PeriodicTask] = []
        with transaction.atomic():
            for schedule in schedules:
                try:
                    started.append(run_now(request.user, schedule))
                except BrokenScheduleError:
                    broken.append(schedule)
                except PermissionDenied:
                    forbidden.append(schedule)
        self._report_started(request, started)
        self._report_skipped(
            request, "Not started because you do not have permission to run their jobs", forbidden
        )
        self._report_skipped(request, "Not started because they are broken", broken)

    def _report_started(self, request: HttpRequest, started: Sequence[Run]) -> None:
        if len(started) == 1:
            url = display.run_url(started[0].pk)
            text = format_html('Run started: <a href="{}">{}</a>.', url, started[0].schedule_name)
            self.message_user(request, text, messages.SUCCESS)
        elif started:
            self.message_user(request, f"Started {len(started)} runs.", messages.SUCCESS)

    def _report_skipped(self, request: HttpRequest, why: str, schedules: Sequence[PeriodicTask]) -> None:
        if schedules:
            self.message_user(request, f"{why}: {_names(schedules)}.", messages.ERROR)

    def _report(
        self, request: HttpRequest, done: str, schedules: Sequence[PeriodicTask], *, if_none: str = ""
    ) -> None:
        text = f"{done}: {_names(schedules)}." if schedules else if_none
        self.message_user(request, text, messages.SUCCESS if schedules else messages.WARNING)

    def _confirm(
        self,
        request: HttpRequest,
        action: str,
        schedules: Sequence[PeriodicTask],
        *,
        form: PauseForm | None = None,
    ) -> HttpResponse:
        """The confirmation page, which posts to the URL of the list."""
        is_across = request.POST.get("select_across") == "1"
        verb = str(self.get_actions(request)[action][2]).rstrip("…")
        count = "1 schedule" if len(schedules) == 1 else f"{len(schedules)} schedules"
        context = {
            **self.admin_site.each_context(request),
            "title": f"Run {count} now" if action == "run_tasks" else f"{verb} {count}",
            "step": verb,
            "action": action,
            "form": form,
            "schedules": schedules[:NAMES_SHOWN],
            "more": max(len(schedules) - NAMES_SHOWN, 0),
            # If all pages are selected, the form would be too large with all IDs.
            "selected": schedules[:1] if is_across else schedules,
            "is_across": is_across,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
            "confirmed": CONFIRMED,
        }
        return TemplateResponse(request, "jobledger/schedules/action.html", context)


def _names(schedules: Sequence[PeriodicTask]) -> str:
    names = [schedule.name for schedule in schedules]
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
