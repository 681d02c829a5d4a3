"""What a deleted schedule has left behind: its runs, its backfills and its alerts, which it gets back.

These records have its name, which other schedules may have had. The id of a slot's run tells whose it is, but
runs of backfills and runs that have superseded others have other ids. So what was recorded while the schedule
had the name, as far as the audit log knows, is its own.
"""

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime

from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log
from jobledger.models import Alert, AuditEntry, Backfill, Run, Trigger
from jobledger.schedules import slot_runs
from jobledger.schedules.backfills.progress import progress_of

_TRIGGERS = (Trigger.SCHEDULE, Trigger.BACKFILL, Trigger.CRON)
"""Of the runs of its slots. Users start others again, which belong to no schedule."""
_BATCH_SIZE = 500


class FormerRecords:
    """The records of the schedule that had this primary key and this name."""

    def __init__(self, schedule_id: int, name: str) -> None:
        self._schedule_id, self._name = schedule_id, name
        entries = AuditEntry.objects.filter(object_type=PeriodicTask._meta.label_lower)
        own = entries.filter(object_id=str(schedule_id), verb=audit_log.DELETED)
        self._until = _newest(own)
        others = entries.filter(object_name=name[:200]).exclude(object_id=str(schedule_id))
        self._since = _newest(others if self._until is None else others.filter(time__lt=self._until))

    def unfinished_backfills(self) -> Iterator[tuple[Backfill, int]]:
        """Those that have ended before all their slots had run, and how many had not."""
        ended = list(self._backfills().filter(ended_at__isnull=False, cancelled_at=None).order_by("pk"))
        progress = progress_of(ended)
        for backfill in ended:
            if waiting := progress[backfill.pk].waiting:
                yield backfill, waiting

    def link(self, schedule: PeriodicTask) -> None:
        """Make them the schedule's own again. Otherwise, a slot could be recorded twice."""
        ids = self._run_ids()
        for start in range(0, len(ids), _BATCH_SIZE):
            Run.objects.filter(pk__in=ids[start : start + _BATCH_SIZE]).update(schedule=schedule)
        self._backfills().update(schedule=schedule)
        alerts = Alert.objects.filter(schedule=None, schedule_name=self._name)
        alerts.filter(self._while_named("time")).update(schedule=schedule)

    def _run_ids(self) -> Sequence[uuid.UUID]:
        """Of its slots, with one run each, besides those of backfills."""
        left = Run.objects.filter(schedule=None, schedule_name=self._name, scheduled_for__isnull=False)
        fields = ("pk", "scheduled_for", "trigger")
        derived = {
            pk: slot
            for pk, slot, _ in left.values_list(*fields)
            if slot and pk == slot_runs.run_id(self._schedule_id, slot)
        }
        recorded, found = set(derived.values()), list(derived)
        others = left.filter(self._while_named("queued_at"), trigger__in=_TRIGGERS)
        for pk, slot, trigger in others.order_by("-queued_at", "pk").values_list(*fields):
            if trigger == Trigger.BACKFILL:
                found.append(pk)
            elif slot and slot not in recorded:
                recorded.add(slot)
                found.append(pk)
        return found

    def _backfills(self) -> QuerySet[Backfill]:
        left = Backfill.objects.filter(schedule=None, schedule_name=self._name)
        return left.filter(self._while_named("created_at"))

    def _while_named(self, field: str) -> Q:
        since = Q() if self._since is None else Q(**{f"{field}__gt": self._since})
        return since if self._until is None else since & Q(**{f"{field}__lte": self._until})


def _newest(entries: QuerySet[AuditEntry]) -> datetime | None:
    return entries.order_by("-time").values_list("time", flat=True).first()
