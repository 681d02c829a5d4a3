"""Deletion of many schedules: confirmed once, carried out in batches, with a page that shows the progress.

Each batch is deleted and logged in its own transaction. A request deletes batches for a few seconds; its
response is a page that continues automatically or, without JavaScript, when a button is pressed. Schedules
that were added after the confirmation page was shown are never deleted.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db import transaction
from django.db.models import Max, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.alerts.rules import RuleAdmin
from jobledger.admin.fields import number_in
from jobledger.admin.rights import User
from jobledger.admin.schedules.editing.edit_form import ConflictError
from jobledger.admin.schedules.snapshot import changes_between, snapshot_of
from jobledger.admin.schedules.status import without_unreadable_times
from jobledger.models import (
    AlertRule,
    AuditEntry,
    Backfill,
    Feed,
    Pause,
    Predecessor,
    SchedulePolicy,
    Subscription,
)
from jobledger.schedules import locking
from jobledger.schedules.documents import NotRepresentableError, complete_document_of, named
from jobledger.schedules.documents.keys import Document

CONFIRMED, LAST, DELETED = "confirmed", "last", "deleted"
BATCH = 50
MAX_REQUEST_SECONDS = 5.0
NAMES_SHOWN = 10


class ScheduleDeletion(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """The action "Delete…". Replaces Django's, which deletes everything in one request."""

    @admin.action(description="Delete…", permissions=["delete"])
    def delete_schedules(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Ask for confirmation, then delete the schedules that existed at that time."""
        last = number_in(request.POST.get(LAST, ""))
        if CONFIRMED not in request.POST or last is None:
            return self._confirmation_or_progress(request, queryset, deleted=0)
        selected = queryset.filter(pk__lte=last)
        deleted = (number_in(request.POST.get(DELETED, "")) or 0) + self._delete_batches(request, selected)
        if selected.exists():
            return self._confirmation_or_progress(request, selected, deleted=deleted)
        text = "Deleted 1 schedule." if deleted == 1 else f"Deleted {deleted} schedules."
        self.message_user(request, text, messages.SUCCESS)
        if "HX-Request" in request.headers:
            return HttpResponse(headers={"HX-Redirect": request.get_full_path()})
        return HttpResponseRedirect(request.get_full_path())

    def _delete_batches(self, request: HttpRequest, selected: QuerySet[PeriodicTask]) -> int:
        """Delete at least one batch, until the time is up; returns the number of deleted schedules."""
        until, count = time.monotonic() + MAX_REQUEST_SECONDS, 0
        while batch := list(selected.order_by("pk")[:BATCH]):
            delete_schedules(request.user, batch)
            count += len(batch)
            if time.monotonic() >= until:
                break
        return count

    def _confirmation_or_progress(
        self, request: HttpRequest, selected: QuerySet[PeriodicTask], *, deleted: int
    ) -> HttpResponse:
        is_across = request.POST.get("select_across") == "1"
        count = selected.count()
        subject = "1 schedule" if count == 1 else f"{count} schedules"
        ids = [] if is_across else list(selected.values_list("pk", flat=True))
        context = {
            "step": "Delete",
            **self.admin_site.each_context(request),
            "title": f"{subject} left to delete" if deleted else f"Delete {subject}",
            "names": list(selected.order_by("name").values_list("name", flat=True)[:NAMES_SHOWN]),
            "more": max(count - NAMES_SHOWN, 0),
            "deleted": deleted,
            "chains": [] if deleted else broken_chains(selected),
            # If all pages are selected, the form would be too large with all IDs.
            "ids": ids or list(selected.values_list("pk", flat=True)[:1]),
            "is_across": is_across,
            "last": number_in(request.POST.get(LAST, "")) or selected.aggregate(last=Max("pk"))["last"] or 0,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "jobledger/schedules/deletion.html", context)


def effects(schedules: Sequence[PeriodicTask]) -> tuple[list[str], dict[str, int]]:
    """What is deleted with the schedules or stops, and how many of each kind are deleted."""
    parts: dict[str, QuerySet[Any]] = {
        str(each._meta.verbose_name_plural): each.objects.filter(schedule__in=schedules).order_by("pk")
        for each in (AlertRule, Pause, Subscription, Feed)
    }
    counts = {"schedules": len(schedules), **{kind: rows.count() for kind, rows in parts.items()}}
    unfinished = Backfill.objects.filter(schedule__in=schedules, ended_at=None).order_by("pk")
    texts = [
        *(f"Schedule {each.name}" for each in schedules),
        *(f"{_capitalized(rows.model)}: {row}" for rows in parts.values() for row in rows),
        *(f"The rest of {backfill}, which starts no more runs" for backfill in unfinished),
        *broken_chains(PeriodicTask.objects.filter(pk__in=[each.pk for each in schedules])),
    ]
    return texts, {kind: count for kind, count in counts.items() if count}


def broken_chains(deleted: QuerySet[PeriodicTask]) -> list[str]:
    """A sentence for each schedule that starts after one of these, and is not deleted itself."""
    links = Predecessor.objects.filter(schedule__in=deleted.order_by().values("pk"))
    links = links.exclude(follower__in=deleted.order_by().values("pk")).select_related("schedule", "follower")
    return [
        f"{link.follower.name} starts after {link.current_name}: it will start nothing until there is a "
        "schedule of this name again"
        for link in links.filter(follower__policy__after__gt="").order_by("follower__name", "name")
    ]


def _capitalized(model: type[Model]) -> str:
    return str(model._meta.verbose_name).capitalize()


@transaction.atomic
def delete_schedules(user: User | str, schedules: Sequence[PeriodicTask]) -> None:
    """Delete the schedules, with an entry in the audit log for each."""
    log_deletions(user, schedules)
    PeriodicTask.objects.filter(pk__in=[schedule.pk for schedule in schedules]).delete()


@transaction.atomic
def delete_schedule_seen(user: User, schedule: PeriodicTask, version: str | None) -> None:
    """Delete the schedule, if it is still as in this version. Raises ConflictError."""
    if version is not None:
        locking.lock_with_declarations([schedule.pk])
        stored = PeriodicTask.objects.filter(pk=schedule.pk).first()
        if stored is None or snapshot_of(stored, SchedulePolicy.of(stored)).version != version:
            raise ConflictError
    delete_schedules(user, [schedule])


def log_deletions(user: User | str, schedules: Iterable[PeriodicTask]) -> list[AuditEntry]:
    """Record what is about to be deleted in the audit log: the schedules, and their alert rules.

    Also locks what the deletion changes, in the order in which others lock it.
    """
    entries: list[AuditEntry] = []
    found = without_unreadable_times(schedules)
    ids = [schedule.pk for schedule in found]
    locking.lock_with_declarations(ids)
    locking.detach_runs(ids)
    for schedule in found:
        changes = changes_between(snapshot_of(schedule, SchedulePolicy.of(schedule)), None)
        before = _version_of(schedule)
        entries += audit_log.log_edit(user, schedule, changes, verb=audit_log.DELETED, before=before)
        for rule in AlertRule.objects.filter(schedule=schedule):
            RuleAdmin(AlertRule, admin.site).log_own_deletion(user, rule)
    return entries


def _version_of(schedule: PeriodicTask) -> Document | None:
    try:
        return named(schedule.name, complete_document_of(schedule))
    except NotRepresentableError:
        return None
