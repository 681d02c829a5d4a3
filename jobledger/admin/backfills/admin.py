"""Backfills in the admin: the list, the page of each with its progress, and cancelling."""

from typing import Any
from zoneinfo import ZoneInfo

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
from jobledger.admin.schedules.status import unreadable_of
from jobledger.admin_site import ModelPages, ReadOnly, page_url, page_view
from jobledger.formats import exact
from jobledger.models import Backfill, BackfillSlot, Run, Status, Trigger
from jobledger.runs import reasons
from jobledger.schedules.backfills import backfilling
from jobledger.schedules.backfills.past_slots import BackfillError
from jobledger.schedules.backfills.progress import (
    NOT_RUN,
    WAITING,
    Progress,
    progress_of,
    starts_nothing,
    status_of,
    zone_of_backfill,
)

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
        backfills = Backfill.objects.select_related("schedule").order_by("-pk")
        page = Paginator(backfills, BACKFILLS_PER_PAGE).get_page(request.GET.get("p"))
        # Their times are not joined: those that cannot be read would hide all backfills.
        unreadable_of([each.schedule for each in page if each.schedule is not None])
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
        is_waiting = progress.without_run and not starts_nothing(backfill)
        context = {
            "title": str(backfill).capitalize(),
            **_facts(backfill, progress),
            "options": options_of(backfill),
            "runs_at_once": _runs_at_once(backfill),
            "started_by": reasons.started_by(backfill.trigger, backfill.username, ""),
            "waits": backfilling.why_waiting(backfill, now) if is_waiting else "",
            "is_over": is_over,
            "may_cancel": not is_over and backfill.cancelled_at is None and rights.may_cancel(request.user),
            "may_see_schedule": backfill.schedule_id and rights.may_view_schedules(request.user),
            "page": page,
            "slots": _rows(list(page), zone_of_backfill(backfill), WAITING if is_waiting else NOT_RUN),
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
        "times": _times(backfill),
        "mark": display.status_mark(status_of(backfill, progress)),
    }


def _times(backfill: Backfill) -> dict[str, str]:
    """When what happened, in the schedule's zone."""
    zone = zone_of_backfill(backfill)
    names = ("since", "until", "created_at", "cancelled_at", "ended_at")
    return {name: exact(time, zone) for name in names if (time := getattr(backfill, name))}


def _runs_at_once(backfill: Backfill) -> str:
    """How many of its runs start, which may be fewer than was asked for."""
    try:
        is_alone = backfill.schedule is not None and backfilling.runs_alone(backfill.schedule)
    except BackfillError:
        # Edited since, and now it starts none.
        is_alone = False
    if is_alone and backfill.parallel > 1:
        return f"1, since they must not overlap ({backfill.parallel} asked for)"
    return str(backfill.parallel)


def _rows(slots: list[BackfillSlot], zone: ZoneInfo, without_run: str) -> list[dict[str, Any]]:
    """The slots with what became of them, as of now. ``without_run`` is what those are that have no run."""
    ids = [slot.run_id for slot in slots if slot.run_id]
    runs = dict(Run.objects.filter(pk__in=ids).values_list("pk", "status"))
    return [
        {
            "slot": exact(slot.scheduled_for, zone),
            "mark": _mark(slot, runs.get(slot.run_id) if slot.run_id else None, without_run),
            # A run that was deleted has no page.
            "run_id": slot.run_id if slot.run_id in runs else None,
        }
        for slot in slots
    ]


def _mark(slot: BackfillSlot, status: str | None, without_run: str) -> SafeString | str:
    known = status or slot.outcome or (Status.CANCELLED if slot.run_id else "")
    return display.status_mark(known) if known else without_run
