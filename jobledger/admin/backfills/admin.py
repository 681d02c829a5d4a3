"""Backfills in the admin: the list, the page of each with its progress, and cancelling."""

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.decorators import method_decorator
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from jobledger import clock
from jobledger.admin import audit_log, display, rights
from jobledger.admin.backfills.starting import options_of, start_view
from jobledger.admin.fields import number_in
from jobledger.admin_site import ModelPages, ReadOnly, page_url, page_view
from jobledger.models import Backfill, BackfillSlot, Run, Status, Trigger
from jobledger.runs import reasons
from jobledger.schedules.backfills import backfilling
from jobledger.schedules.backfills.progress import Progress, progress_of, status_of

BACKFILLS_PER_PAGE = 50
SLOTS_PER_PAGE = 100


class BackfillAdmin(ReadOnly, ModelPages):
    def has_module_permission(self, request: HttpRequest) -> bool:
        return rights.may_view(request.user)

    def has_view_permission(self, request: HttpRequest, obj: Backfill | None = None) -> bool:
        return rights.may_view(request.user)

    def get_urls(self) -> list[URLPattern]:
        def start(request: HttpRequest, schedule_id: int) -> HttpResponse:
            return start_view(request, schedule_id, self.admin_site)

        views = {
            "start/<int:schedule_id>/": (start, "start"),
            "<int:backfill_id>/cancel/": (self.cancel_view, "cancel"),
        }
        urls = [
            path(route, page_view(self.admin_site, view), name=f"jobledger_backfill_{name}")
            for route, (view, name) in views.items()
        ]
        return [*urls, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """All backfills, newest first."""
        self._check_view_permission(request)
        page = Paginator(Backfill.objects.order_by("-pk"), BACKFILLS_PER_PAGE).get_page(request.GET.get("p"))
        progress = progress_of(page)
        rows = [_facts(each, progress[each.pk]) for each in page]
        return self._render(request, "list.html", {"title": "Backfills", "rows": rows, "page": page})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The backfill's progress, which is updated until it is over, and its slots."""
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        backfill, now = self._get_backfill(request, object_id), clock.now()
        progress, is_over = progress_of([backfill])[backfill.pk], backfill.ended_at is not None
        slots = BackfillSlot.objects.filter(backfill=backfill).order_by("scheduled_for")
        page = Paginator(slots, SLOTS_PER_PAGE).get_page(request.GET.get("p"))
        is_waiting = progress.waiting and not is_over and backfill.cancelled_at is None
        context = {
            "title": str(backfill).capitalize(),
            **_facts(backfill, progress),
            "options": options_of(backfill),
            "started_by": reasons.started_by(backfill.trigger, backfill.username, ""),
            "waits": backfilling.why_waiting(backfill, now) if is_waiting else "",
            "is_over": is_over,
            "may_cancel": not is_over and backfill.cancelled_at is None and rights.may_cancel(request.user),
            "may_see_schedule": backfill.schedule_id and rights.may_view_schedules(request.user),
            "page": page,
            "slots": _rows(list(page)),
        }
        return self._render(request, "page.html", context)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit log has it with the schedule, too; a page of its own would say nothing more."""
        return HttpResponseRedirect(
            page_url("jobledger_backfill_change", self._get_backfill(request, object_id).pk)
        )

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, backfill_id: int) -> HttpResponse:
        """Cancel the backfill, with its live runs, and return to its page."""
        backfill = self._get_backfill(request, str(backfill_id))
        if not rights.may_cancel(request.user):
            raise PermissionDenied
        username = request.user.get_username()
        with transaction.atomic():
            is_cancelled = backfilling.cancel(
                backfill, trigger=Trigger.ADMIN, username=username, now=clock.now()
            )
            if is_cancelled:
                targets = [backfill, *([backfill.schedule] if backfill.schedule else [])]
                audit_log.log_action(request.user, targets, f"Cancelled backfill {backfill.pk}.")
        if is_cancelled:
            text = "The backfill has been cancelled. Runs of it that are running end within a few seconds."
            self.message_user(request, text, messages.SUCCESS)
        else:
            text = "The backfill has already ended or is already being cancelled."
            self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(page_url("jobledger_backfill_change", backfill.pk))

    def _get_backfill(self, request: HttpRequest, object_id: str) -> Backfill:
        self._check_view_permission(request)
        return get_object_or_404(Backfill.objects.select_related("schedule"), pk=number_in(object_id))

    def _check_view_permission(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        site = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"jobledger/backfills/{template}", {**site, **context})


def _facts(backfill: Backfill, progress: Progress) -> dict[str, Any]:
    return {
        "backfill": backfill,
        "progress": progress,
        "mark": display.status_mark(status_of(backfill, progress)),
    }


def _rows(slots: list[BackfillSlot]) -> list[dict[str, Any]]:
    """The slots with what became of them, as of now."""
    ids = [slot.run_id for slot in slots if slot.run_id]
    runs = dict(Run.objects.filter(pk__in=ids).values_list("pk", "status"))
    return [
        {
            "slot": slot.scheduled_for,
            "mark": _mark(slot, runs.get(slot.run_id) if slot.run_id else None),
            # A run that was deleted has no page.
            "run_id": slot.run_id if slot.run_id in runs else None,
        }
        for slot in slots
    ]


def _mark(slot: BackfillSlot, status: str | None) -> SafeString:
    known = status or slot.outcome or (Status.CANCELLED if slot.run_id else "")
    return display.status_mark(known) if known else SafeString("waiting")
