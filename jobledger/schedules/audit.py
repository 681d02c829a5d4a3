"""Entries of the audit log about schedules that were changed from the command line.

They are written together with the change, in its transaction. Secrets are masked. The log also tells since
when a schedule exists.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from django.db.models import Model
from django_celery_beat.models import PeriodicTask

from jobledger.models import AuditEntry, SchedulePolicy
from jobledger.runs.identity import operating_system_user
from jobledger.schedules.declared.merge import FIELDS
from jobledger.schedules.declared.values import LABELS, formatted, stored_values
from jobledger.schedules.documents import version_of
from jobledger.schedules.documents.keys import Document

Change = tuple[str, str, str]
"""A label, and the old and the new value."""


def log_added_schedule(pk: int, how: str) -> None:
    """Log that the schedule, as it is stored now, was added."""
    schedule = PeriodicTask.objects.get(pk=pk)
    stored = stored_values(schedule)
    found = {"Name": schedule.name, **{LABELS[name]: formatted(stored, name) for name in FIELDS}}
    values = [(name, "", text) for name, text in found.items() if text]
    _log(schedule, f"Added {how}.", "added", values, after=version_of(schedule))


def log_added(target: Model, how: str, values: Mapping[str, str]) -> None:
    """Log that a schedule, or what belongs to one, was added with these values, by their labels."""
    _log(target, f"Added {how}.", "added", [(name, "", text) for name, text in values.items()])


def log_changed(
    schedule: PeriodicTask, how: str, changes: Iterable[Change], *, before: Document | None
) -> None:
    """Log what was changed in a schedule. ``before`` is its version before the change."""
    found = list(changes)
    text = f"Changed {', '.join(name for name, _, _ in found)} {how}."
    after = version_of(PeriodicTask.objects.get(pk=schedule.pk))
    _log(schedule, text, "changed", found, before=before, after=after)


def log_edited(target: Model, how: str, changes: Iterable[Change]) -> None:
    """Log what was changed in something else, such as a calendar."""
    found = list(changes)
    _log(target, f"Changed {', '.join(name for name, _, _ in found)} {how}.", "changed", found)


def ran_since(schedule: PeriodicTask) -> datetime | None:
    """Since when there can be runs of it; None if the log does not tell, or if cron ran it before."""
    if SchedulePolicy.of(schedule).imported_line:
        return None
    of_schedules = AuditEntry.objects.filter(object_type=PeriodicTask._meta.label_lower)
    oldest = of_schedules.filter(object_id=str(schedule.pk)).only("verb", "time").order_by("pk").first()
    return oldest.time if oldest is not None and oldest.verb == "added" else None


def command_line_user() -> str:
    """The author of what is changed from the command line; a user of the admin may have the same name."""
    return f"{operating_system_user()[:180]} (command line)"


def _log(target: Model, text: str, verb: str, changes: Iterable[Change], **versions: Document | None) -> None:
    name = getattr(target, "name", "") or str(target)
    AuditEntry.objects.create(
        username=command_line_user(),
        object_type=target._meta.label_lower,
        object_id=str(target.pk),
        object_name=name[:200],
        verb=verb,
        text=text,
        changes=[list(each) for each in changes],
        **versions,
    )
