"""Deleting many schedules: asked once, done in slices, with a page between them that shows how far it is.

Every slice is deleted and logged in a transaction of its own. A request carries out slices for a few seconds
only; the page that follows posts the rest by itself, or, without JavaScript, at the press of a button.
Schedules that were added after the question are never among them.
"""

import time

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.db import transaction
from django.db.models import Max, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from jobledger.admin.fields import number_in

CONFIRMED, LAST, DELETED = "confirmed", "last", "deleted"
SLICE = 50
SECONDS_A_REQUEST = 5.0
NAMES_SHOWN = 10


class ScheduleDeletion(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """The list's action "Delete…", in place of Django's, which deletes all in one request."""

    @admin.action(description="Delete…", permissions=["delete"])
    def delete_schedules(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> HttpResponse | None:
        """Ask, then delete what was there when it asked."""
        last = number_in(request.POST.get(LAST, ""))
        if CONFIRMED not in request.POST or last is None:
            return self._ask_or_report(request, queryset, deleted=0)
        chosen = queryset.filter(pk__lte=last)
        deleted = (number_in(request.POST.get(DELETED, "")) or 0) + self._delete_some(request, chosen)
        if chosen.exists():
            return self._ask_or_report(request, chosen, deleted=deleted)
        text = "Deleted 1 schedule." if deleted == 1 else f"Deleted {deleted} schedules."
        self.message_user(request, text, messages.SUCCESS)
        if "HX-Request" in request.headers:
            return HttpResponse(headers={"HX-Redirect": request.get_full_path()})
        return HttpResponseRedirect(request.get_full_path())

    def _delete_some(self, request: HttpRequest, chosen: QuerySet[PeriodicTask]) -> int:
        """As many slices as fit into a request, at least one; returns how many schedules."""
        until, count = time.monotonic() + SECONDS_A_REQUEST, 0
        while part := list(chosen.order_by("pk")[:SLICE]):
            with transaction.atomic():
                self.log_deletions(request, part)
                PeriodicTask.objects.filter(pk__in=[schedule.pk for schedule in part]).delete()
            count += len(part)
            if time.monotonic() >= until:
                break
        return count

    def _ask_or_report(
        self, request: HttpRequest, chosen: QuerySet[PeriodicTask], *, deleted: int
    ) -> HttpResponse:
        """The question, or how far it is."""
        is_across = request.POST.get("select_across") == "1"
        count = chosen.count()
        named = "1 schedule" if count == 1 else f"{count} schedules"
        ids = [] if is_across else list(chosen.values_list("pk", flat=True))
        context = {
            "step": "Delete",
            **self.admin_site.each_context(request),
            "title": f"{named} left to delete" if deleted else f"Delete {named}",
            "names": list(chosen.order_by("name").values_list("name", flat=True)[:NAMES_SHOWN]),
            "more": max(count - NAMES_SHOWN, 0),
            "deleted": deleted,
            # If all pages are selected, naming each of thousands would be too much for a form.
            "ids": ids or list(chosen.values_list("pk", flat=True)[:1]),
            "is_across": is_across,
            "last": number_in(request.POST.get(LAST, "")) or chosen.aggregate(last=Max("pk"))["last"] or 0,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "jobledger/schedules/deletion.html", context)
