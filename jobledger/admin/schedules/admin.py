"""Schedules in the admin: their list, what can be done to many at once, and the pages of each.

The rows that hold their times have no pages of their own: they are shared, and to delete one is to delete
every schedule that uses it. A schedule's times are edited on its page.
"""

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django_celery_beat.admin import PeriodicTaskAdmin
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log
from jobledger.admin.schedules import snapshot, status
from jobledger.admin.schedules.actions import ScheduleActions
from jobledger.admin.schedules.listing import ScheduleList
from jobledger.admin.schedules.views import SchedulePages
from jobledger.schedules import reconciliation
from jobledger.schedules.stored_schedules import KINDS


class ScheduleDeletion(PeriodicTaskAdmin):  # type: ignore[misc]  # django-celery-beat has no types
    """Django's own pages for it, whose texts read each schedule's times."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        """Without joining the times: one that cannot be read would hide its schedule."""
        found: QuerySet[PeriodicTask] = super().get_queryset(request).select_related(None)
        return found

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> PeriodicTask | None:
        """The schedule, with a text."""
        found = super().get_object(request, object_id, from_field)
        return _with_texts([found])[0] if found else None

    def get_deleted_objects(self, objs: Iterable[PeriodicTask], request: HttpRequest) -> Any:
        """What goes with them."""
        return super().get_deleted_objects(_with_texts(objs), request)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[PeriodicTask]) -> None:
        """What is deleted leaves its values in the trail."""
        for schedule in _with_texts(queryset):
            old = snapshot.values_of(schedule, snapshot.policy_of(schedule))
            audit_log.edited(request.user, schedule, snapshot.changes(old, None), verb="deleted")


def _with_texts(schedules: Iterable[PeriodicTask]) -> list[PeriodicTask]:
    """The schedules; those whose times cannot be read as if they had none."""
    found = list(schedules)
    unreadable = status.unreadable_of(found)
    for schedule in found:
        if schedule.pk in unreadable:
            for kind in KINDS:
                setattr(schedule, kind, None)
    return found


class ScheduleAdmin(SchedulePages, ScheduleActions, ScheduleDeletion, ScheduleList):
    """Where schedules are looked at, acted upon and edited."""


admin.site.unregister([PeriodicTask, *reconciliation.TIMES])
admin.site.register(PeriodicTask, ScheduleAdmin)
