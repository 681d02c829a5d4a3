"""Entries of the trail as a page shows them: who, when, what, and the old and new values."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import QuerySet
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin import moments, trail
from tasks_app.jobs.admin.trail import Change


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One of them."""

    who: str
    shown: SafeString
    """When."""
    text: str
    changes: list[Change]
    is_new: bool
    """Whether the schedule was made then."""


def entries_of(schedule: PeriodicTask) -> QuerySet[LogEntry]:
    """All that was done with it in the admin, the newest first."""
    content_type = ContentType.objects.get_for_model(PeriodicTask)
    return LogEntry.objects.filter(content_type=content_type, object_id=str(schedule.pk)).order_by("-pk")


def shown(found: Iterable[LogEntry], now: datetime) -> list[Entry]:
    """In the order given; their users should have been read together with them."""
    return [
        Entry(
            who=entry.user.get_username(),
            shown=moments.both(entry.action_time, now),
            text=entry.get_change_message(),
            changes=trail.changes_of(entry),
            is_new=entry.is_addition(),
        )
        for entry in found
    ]
