"""The pages of one schedule: its sheet with the preview, its history, and what its buttons do.

Editing, adding and pausing are rights of their own, checked in every view. What changes something, and what
is asked while somebody types, is posted. Without JavaScript the page does the same in more steps.
"""

from datetime import datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log, display, rights
from jobledger.admin.fields import number_in
from jobledger.admin.pauses import PauseForm
from jobledger.admin.schedules import preview, status
from jobledger.admin.schedules.edit_form import Conflict, ConflictError, Sheet
from jobledger.admin.schedules.target import Work, stored_work
from jobledger.jobs import registry
from jobledger.models import NextSlot
from jobledger.schedules import pausing

NAME = "django_celery_beat_periodictask"
ENTRIES_PER_PAGE = 50
ONLY_SHOW = {"_preview", "_show"}
"""Buttons that show the sheet again and save nothing."""


class SchedulePages(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """In the place of django-celery-beat's own pages."""

    change_form_template = "jobledger/schedules/page.html"
    object_history_template = "jobledger/schedules/history.html"

    def get_urls(self) -> list[URLPattern]:
        """The sheet's own addresses, before Django's, which take anything for an id."""
        views = (
            ("add/preview/", self.preview_view, "add_preview"),
            ("add/work/", self.work_view, "add_work"),
            ("add/line/", self.line_view, "add_line"),
            ("<int:schedule_id>/preview/", self.preview_view, "preview"),
            ("<int:schedule_id>/work/", self.work_view, "work"),
            ("<int:schedule_id>/line/", self.line_view, "line"),
            ("<int:schedule_id>/pause/", self.pause_view, "pause"),
            ("<int:schedule_id>/resume/", self.resume_view, "resume"),
        )
        own = [
            path(address, self.admin_site.admin_view(view), name=f"{NAME}_{name}")
            for address, view, name in views
        ]
        return [*own, *super().get_urls()]

    @method_decorator(sensitive_post_parameters())
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The sheet of a new schedule or of a stored one; for who may not edit it, what it says."""
        stored = self._seen(request, object_id)
        if not self._may_edit(request, stored):
            if request.method == "POST" or stored is None:
                raise PermissionDenied
            return self._page(request, Sheet(stored=stored, now=timezone.now()))
        if request.method != "POST":
            sheet = Sheet(stored=stored, now=timezone.now(), job_name=_job_asked_for(request))
            return self._page(request, sheet)
        return self._posted(request, stored)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Who did what to it, the newest first, with the old and the new values."""
        schedule = self._stored(request, object_id)
        found = audit_log.entries_of(schedule).select_related("user")
        page = Paginator(found, ENTRIES_PER_PAGE).get_page(request.GET.get("p"))
        context = {
            **self.admin_site.each_context(request),
            "title": f"History of {schedule.name}",
            "opts": self.opts,
            "schedule": schedule,
            "page": page,
            "entries": audit_log.shown(page, timezone.now()),
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.object_history_template, context)

    @method_decorator([require_POST, sensitive_post_parameters()])
    def preview_view(self, request: HttpRequest, schedule_id: int | None = None) -> HttpResponse:
        """What saving would do, while somebody types."""
        stored = self._editable(request, schedule_id)
        sheet = Sheet(request.POST, stored=stored, now=timezone.now())
        context = {"preview": preview.shown(sheet), "sheet": sheet}
        return TemplateResponse(request, "jobledger/schedules/preview.html", context)

    @method_decorator([require_POST, sensitive_post_parameters()])
    def work_view(self, request: HttpRequest, schedule_id: int | None = None) -> HttpResponse:
        """The options of the job that was chosen, in the manner that was chosen."""
        stored = self._editable(request, schedule_id)
        context = _work_context(Work(request.POST, stored=stored_work(stored)), stored)
        return TemplateResponse(request, "jobledger/schedules/target.html", context)

    @method_decorator([require_POST, sensitive_post_parameters()])
    def line_view(self, request: HttpRequest, schedule_id: int | None = None) -> HttpResponse:
        """The command line that says the same as the options."""
        stored = self._editable(request, schedule_id)
        form = Work(request.POST, stored=stored_work(stored)).options_form
        if form is None:
            raise Http404
        form.is_valid()
        context = {"command_line": form.command_line, "prefix": form.prefix}
        return TemplateResponse(request, "jobledger/options/command_line.html", context)

    @method_decorator(require_POST)
    def pause_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """Pause it; what is paused already stays paused, until the new end."""
        schedule, now = self._pausable(request, schedule_id), timezone.now()
        form = PauseForm(request.POST, now=now)
        if not form.is_valid():
            return self._page(request, Sheet(stored=schedule, now=now), pause_form=form)
        with transaction.atomic():
            pause, _is_new = pausing.pause(schedule, form.terms(request.user), now=now)
            said = f"Paused {status.paused_in_words(pause)}"
            audit_log.noted(request.user, [schedule], said)
        self.message_user(request, said, messages.SUCCESS)
        return _to_page_of(schedule)

    @method_decorator(require_POST)
    def resume_view(self, request: HttpRequest, schedule_id: int) -> HttpResponse:
        """End its own pauses; one of the whole service stays."""
        schedule = self._pausable(request, schedule_id)
        with transaction.atomic():
            is_resumed = pausing.resume(schedule, now=timezone.now())
            if is_resumed:
                audit_log.noted(request.user, [schedule], "Resumed")
        if is_resumed:
            self.message_user(request, "Resumed.", messages.SUCCESS)
        else:
            self.message_user(request, "It was not paused.", messages.WARNING)
        return _to_page_of(schedule)

    def _posted(self, request: HttpRequest, stored: PeriodicTask | None) -> HttpResponse:
        sheet = Sheet(request.POST, stored=stored, now=timezone.now())
        if ONLY_SHOW.intersection(request.POST):
            return self._page(request, sheet)
        if not sheet.is_good:
            return self._page(request, sheet)
        try:
            schedule = sheet.save(request.user)
        except ConflictError:
            return self._overtaken(request, stored)
        return self._saved(request, schedule, sheet.now, is_new=stored is None)

    def _overtaken(self, request: HttpRequest, stored: PeriodicTask | None) -> HttpResponse:
        """Somebody was faster: say so, over what is stored by now."""
        found = PeriodicTask.objects.filter(pk=stored.pk).first() if stored else None
        if found is None:
            self.message_user(request, "The schedule was deleted meanwhile.", messages.ERROR)
            return HttpResponseRedirect(reverse(f"admin:{NAME}_changelist"))
        sheet = Sheet(request.POST, stored=found, now=timezone.now())
        return self._page(request, sheet, conflict=sheet.conflict())

    def _saved(
        self, request: HttpRequest, schedule: PeriodicTask, now: datetime, *, is_new: bool
    ) -> HttpResponse:
        row = NextSlot.objects.filter(pk=schedule.pk).first()
        said = f"Schedule “{schedule.name}” was {'added' if is_new else 'saved'}."
        next_slot = "It has no slot to come."
        if row is not None and row.slot is not None:
            when = f"{display.exact(row.slot)} ({display.relative(row.slot, now)})"
            next_slot = f"Its next slot: {when}."
        self.message_user(request, f"{said} {next_slot}", messages.SUCCESS)
        if "_continue" in request.POST:
            return _to_page_of(schedule)
        address = reverse(f"admin:{NAME}_changelist")
        filters: Any = {"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}
        return HttpResponseRedirect(add_preserved_filters(filters, address))

    def _page(
        self,
        request: HttpRequest,
        sheet: Sheet,
        *,
        conflict: Conflict | None = None,
        pause_form: PauseForm | None = None,
    ) -> HttpResponse:
        stored = sheet.stored
        context = {
            **self.admin_site.each_context(request),
            **_work_context(sheet.work, stored),
            "sheet": sheet,
            "title": stored.name if stored else "Add a schedule",
            "opts": self.opts,
            "conflict": conflict,
            "version": sheet.version if conflict else sheet.opened_version,
            "seen": sheet.newest_entry if conflict else sheet.opened_entry,
            "has_errors": _has_errors(request, sheet),
            "preview": preview.shown(sheet),
            "preview_url": _address("preview", stored),
            "state": _state_for(request, stored, sheet.now) if stored else None,
            "may_edit": self._may_edit(request, stored),
            "may_delete": stored is not None and self.has_delete_permission(request, stored),
            "may_pause": stored is not None and rights.may_pause(request.user),
            "pause_form": pause_form or PauseForm(now=sheet.now),
            "preserved_filters": self.get_preserved_filters(request),
        }
        return TemplateResponse(request, self.change_form_template, context)

    def _seen(self, request: HttpRequest, object_id: str | None) -> PeriodicTask | None:
        """The schedule, for somebody who sees it. None for a new one."""
        return None if object_id is None else self._stored(request, object_id)

    def _stored(self, request: HttpRequest, object_id: str) -> PeriodicTask:
        # Not the admin's own look-up: a schedule whose times cannot be read is there to be mended.
        found: PeriodicTask = get_object_or_404(PeriodicTask, pk=number_in(object_id))
        if not self.has_view_permission(request, found):
            raise PermissionDenied
        return found

    def _may_edit(self, request: HttpRequest, stored: PeriodicTask | None) -> bool:
        if stored is None:
            return bool(self.has_add_permission(request))
        return bool(self.has_change_permission(request, stored))

    def _editable(self, request: HttpRequest, schedule_id: int | None) -> PeriodicTask | None:
        """What somebody types at, who may save it. None for a new one."""
        stored = self._seen(request, None if schedule_id is None else str(schedule_id))
        if not self._may_edit(request, stored):
            raise PermissionDenied
        return stored

    def _pausable(self, request: HttpRequest, schedule_id: int) -> PeriodicTask:
        schedule: PeriodicTask = get_object_or_404(PeriodicTask, pk=schedule_id)
        if not (rights.may_pause(request.user) and self.has_view_permission(request, schedule)):
            raise PermissionDenied
        return schedule


def _job_asked_for(request: HttpRequest) -> str:
    """By the name of the job, or of its task."""
    try:
        return registry.find(request.GET.get("job") or request.GET.get("task", "")).name
    except registry.UnknownJobError:
        return ""


def _state_for(request: HttpRequest, stored: PeriodicTask, now: datetime) -> status.State:
    return status.state_of(stored, now, with_runs=rights.may_view(request.user))


def _has_errors(request: HttpRequest, sheet: Sheet) -> bool:
    is_to_be_saved = request.method == "POST" and not ONLY_SHOW.intersection(request.POST)
    return is_to_be_saved and sheet.is_posted and not sheet.is_good


def _address(name: str, stored: PeriodicTask | None) -> str:
    if stored is None:
        return reverse(f"admin:{NAME}_add_{name}")
    return reverse(f"admin:{NAME}_{name}", args=[stored.pk])


def _work_context(work: Work, stored: PeriodicTask | None) -> dict[str, Any]:
    return {"work": work, "work_url": _address("work", stored), "refresh_url": _address("line", stored)}


def _to_page_of(schedule: PeriodicTask) -> HttpResponse:
    return HttpResponseRedirect(reverse(f"admin:{NAME}_change", args=[schedule.pk]))
