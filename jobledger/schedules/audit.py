"""Entries of the audit log about schedules that were changed from the command line.

They are written together with the change, in its transaction. Secrets are masked.
"""

from collections.abc import Iterable, Mapping

from django.db.models import Model
from django_celery_beat.models import PeriodicTask

from jobledger.models import AuditEntry
from jobledger.runs.dispatch import operating_system_user
from jobledger.schedules.declared.merge import FIELDS
from jobledger.schedules.declared.values import LABELS, formatted, stored_values

Change = tuple[str, str, str]
"""A label, and the old and the new value."""


def log_added_schedule(pk: int, how: str) -> None:
    """Log that the schedule, as it is stored now, was added."""
    schedule = PeriodicTask.objects.get(pk=pk)
    values = stored_values(schedule)
    found = {"Name": schedule.name, **{LABELS[name]: formatted(values, name) for name in FIELDS}}
    log_added(schedule, how, {name: text for name, text in found.items() if text})


def log_added(target: Model, how: str, values: Mapping[str, str]) -> None:
    """Log that a schedule, or what belongs to one, was added with these values, by their labels."""
    _log(target, f"Added {how}.", "added", [(name, "", text) for name, text in values.items()])


def log_changed(schedule: PeriodicTask, how: str, changes: Iterable[Change]) -> None:
    """Log what was changed in a schedule."""
    found = list(changes)
    _log(schedule, f"Changed {', '.join(name for name, _, _ in found)} {how}.", "changed", found)


def _log(target: Model, text: str, verb: str, changes: Iterable[Change]) -> None:
    name = getattr(target, "name", "") or str(target)
    AuditEntry.objects.create(
        # A user of the admin may have the same name.
        username=f"{operating_system_user()[:180]} (command line)",
        object_type=target._meta.label_lower,
        object_id=str(target.pk),
        object_name=name[:200],
        verb=verb,
        text=text,
        changes=[list(each) for each in changes],
    )
