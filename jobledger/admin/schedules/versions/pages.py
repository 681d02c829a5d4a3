"""The pages from which versions of schedules are brought back: a diff to confirm, and what was deleted."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log, display
from jobledger.admin.audit_log import Entry
from jobledger.admin.schedules.editing.edit_form import ConflictError
from jobledger.admin.schedules.snapshot import snapshot_of
from jobledger.admin.schedules.versions.bringing_back import AFTER, BEFORE, BringingBack, versions_of
from jobledger.admin_site import page_url, page_view
from jobledger.models import AuditEntry, SchedulePolicy

NAME = "django_celery_beat_periodictask"
ENTRIES_PER_PAGE = 50
SEEN = "version"
CHANGED_MEANWHILE = "Nothing was changed: the schedule has just been changed by someone else. Compare again."


class ScheduleVersions(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """Bringing back requires permission to change the schedule or, if it was deleted, to add it."""

    def get_urls(self) -> list[URLPattern]:
        """Must precede Django's URLs, which match any text as an ID."""
        version = page_view(self.admin_site, self.version_view)
        deleted = page_view(self.admin_site, self.deleted_view)
        return [
            path("version/<int:entry_id>/<str:which>/", version, name=f"{NAME}_version"),
            path("deleted/", deleted, name=f"{NAME}_deleted"),
            *super().get_urls(),
        ]

    @method_decorator([require_http_methods(["GET", "POST"]), sensitive_post_parameters()])
    def version_view(self, request: HttpRequest, entry_id: int, which: str) -> HttpResponse:
        """What bringing a version back would change, and, after a POST, what it has changed."""
        entries = AuditEntry.objects.filter(object_type=PeriodicTask._meta.label_lower)
        entry = get_object_or_404(entries, pk=entry_id)
        version = {BEFORE: entry.before, AFTER: entry.after}.get(which)
        if not version:
            raise Http404
        is_post = request.method == "POST"
        found = BringingBack(
            version,
            schedule_id=int(entry.object_id),
            now=timezone.now(),
            entered=request.POST.dict() if is_post else None,
            seen=request.POST.get(SEEN, "") if is_post else None,
        )
        self._check(request, found)
        if not is_post or found.problems:
            return self._version_page(request, entry, which, found)
        return self._bring_back(request, found)

    def deleted_view(self, request: HttpRequest) -> HttpResponse:
        """The schedules that were deleted, newest first, as far as the audit log has them."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        entries = AuditEntry.objects.filter(
            object_type=PeriodicTask._meta.label_lower, verb=audit_log.DELETED
        ).order_by("-pk")
        page = Paginator(entries, ENTRIES_PER_PAGE).get_page(request.GET.get("p"))
        ids = [int(entry.object_id) for entry in page]
        stored = set(PeriodicTask.objects.filter(pk__in=ids).values_list("pk", flat=True))
        now = timezone.now()
        context = {
            **self.admin_site.each_context(request),
            "title": "Deleted schedules",
            "opts": self.opts,
            "page": page,
            "rows": [
                {
                    "entry": entry,
                    "time": display.exactly_when(entry.time, now),
                    "is_back": int(entry.object_id) in stored,
                }
                for entry in page
            ],
        }
        return TemplateResponse(request, "jobledger/schedules/deleted.html", context)

    def history_of(
        self, request: HttpRequest, schedule: PeriodicTask, rows: Sequence[AuditEntry]
    ) -> list[Entry]:
        """The entries of a page, each with the versions that the user may bring back."""
        entries = audit_log.formatted(rows, timezone.now())
        if not self.has_change_permission(request, schedule):
            return entries
        current = snapshot_of(schedule, SchedulePolicy.of(schedule)).document
        return [
            replace(entry, versions=versions_of(row, older, current))
            for entry, row, older in zip_longest(entries, rows, rows[1:])
        ]

    def _check(self, request: HttpRequest, found: BringingBack) -> None:
        may = (
            self.has_add_permission(request)
            if found.stored is None
            else self.has_change_permission(request, found.stored)
        )
        if not may:
            raise PermissionDenied

    def _bring_back(self, request: HttpRequest, found: BringingBack) -> HttpResponse:
        try:
            schedule = found.bring_back(request.user)
        except ConflictError:
            self.message_user(request, CHANGED_MEANWHILE, messages.ERROR)
            return HttpResponseRedirect(request.path)
        text = f"Schedule “{schedule.name}” was brought back."
        self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(page_url(f"{NAME}_change", schedule.pk))

    def _version_page(
        self, request: HttpRequest, entry: AuditEntry, which: str, found: BringingBack
    ) -> HttpResponse:
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": f"Bring back {found.name}",
            "step": "Bring back",
            "form_id": "bring-back",
            "opts": self.opts,
            "found": found,
            "entry": entry,
            "time": display.exactly_when(entry.time, timezone.now()),
            "seen": SEEN,
            "is_before": which == BEFORE,
        }
        return TemplateResponse(request, "jobledger/schedules/version.html", context)
