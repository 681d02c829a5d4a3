"""What a deleted schedule has left behind: its runs, its backfills and its alerts, which it gets back.

These records have the name that the schedule had then, which other schedules may have had before or since.
The id of a slot's run tells whose it is, whatever its name. Runs of backfills and runs that have superseded
others have other ids, and so have backfills and alerts: what was recorded while the schedule had that name,
as far as the audit log knows, is its own.
"""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Q, QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger.admin import audit_log
from jobledger.models import Alert, AuditEntry, Backfill, Run, Trigger
from jobledger.schedules.backfills.progress import progress_of
from jobledger.schedules.due import slot_runs

_TRIGGERS = (Trigger.SCHEDULE, Trigger.CHAIN, Trigger.BACKFILL, Trigger.CRON)
"""Of the runs of its slots. Users start others again, which belong to no schedule."""
_BATCH_SIZE = 500


@dataclass(frozen=True, kw_only=True)
class _Naming:
    """When a schedule had a name; no time if that is not known, or still so."""

    name: str
    since: datetime | None = None
    until: datetime | None = None

    def during(self, field: str) -> Q:
        """The condition that a record has this name, and was made in this time."""
        since = {} if self.since is None else {f"{field}__gt": self.since}
        until = {} if self.until is None else {f"{field}__lte": self.until}
        return Q(schedule_name=self.name, **since, **until)


class FormerRecords:
    """The records of the schedule that had this primary key."""

    def __init__(self, schedule_id: int) -> None:
        self._schedule_id = schedule_id
        self._namings = [_unshared(each, schedule_id) for each in _merged(_namings(schedule_id))]

    def unfinished_backfills(self) -> Iterator[tuple[Backfill, int]]:
        """Those that have ended before all their slots had run, and how many had not."""
        ended = list(self._backfills().filter(ended_at__isnull=False, cancelled_at=None).order_by("pk"))
        progress = progress_of(ended)
        for backfill in ended:
            if waiting := progress[backfill.pk].without_run:
                yield backfill, waiting

    def link(self, schedule: PeriodicTask) -> None:
        """Make them the schedule's own again. Otherwise, a slot could be recorded twice."""
        ids = self._run_ids()
        for start in range(0, len(ids), _BATCH_SIZE):
            Run.objects.filter(pk__in=ids[start : start + _BATCH_SIZE]).update(schedule=schedule)
        self._backfills().update(schedule=schedule)
        Alert.objects.filter(self._while_named("time"), schedule=None).update(schedule=schedule)

    def _run_ids(self) -> Sequence[uuid.UUID]:
        """Of its slots, with one run each, besides those of backfills."""
        left = Run.objects.filter(schedule=None, scheduled_for__isnull=False, trigger__in=_TRIGGERS)
        slots = left.exclude(trigger=Trigger.BACKFILL).values_list("pk", "scheduled_for")
        derived = {
            pk: slot
            # Of any name: a rename may have left no trace. There can be many of them.
            for pk, slot in slots.iterator(chunk_size=2000)
            if slot and pk == slot_runs.run_id(self._schedule_id, slot)
        }
        recorded, found = set(derived.values()), list(derived)
        others = left.filter(self._while_named("queued_at")).order_by("-queued_at", "pk")
        for pk, slot, trigger in others.values_list("pk", "scheduled_for", "trigger"):
            if trigger == Trigger.BACKFILL:
                found.append(pk)
            elif slot and slot not in recorded:
                recorded.add(slot)
                found.append(pk)
        return found

    def _backfills(self) -> QuerySet[Backfill]:
        return Backfill.objects.filter(self._while_named("created_at"), schedule=None)

    def _while_named(self, field: str) -> Q:
        found = Q(pk__in=())
        for each in self._namings:
            found |= each.during(field)
        return found


def _namings(schedule_id: int) -> Iterator[_Naming]:
    """The schedule's name before each of its entries in the audit log, and after the last."""
    entry: AuditEntry | None = None
    since: datetime | None = None
    for entry in _entries().filter(object_id=str(schedule_id)).defer("after").order_by("pk"):
        # Between its deletion and its return, it had none.
        if entry.verb != audit_log.ADDED or since is None:
            yield _Naming(name=_name_before(entry), since=since, until=entry.time)
        since = entry.time
    if entry is not None and entry.verb != audit_log.DELETED:
        yield _Naming(name=entry.object_name, since=since)


def _name_before(entry: AuditEntry) -> str:
    if entry.before:
        return str(entry.before["name"])
    # No version was kept if one of its values was not valid.
    old = next((change.old for change in audit_log.changes_of(entry) if change.name == "Name"), "")
    return old or entry.object_name


def _merged(namings: Iterable[_Naming]) -> list[_Naming]:
    found: list[_Naming] = []
    for each in namings:
        if found and (found[-1].name, found[-1].until) == (each.name, each.since):
            found[-1] = replace(found[-1], until=each.until)
        else:
            found.append(each)
    return found


def _unshared(naming: _Naming, schedule_id: int) -> _Naming:
    """Since when, as far as is known, no other schedule had this name."""
    others = _entries().exclude(object_id=str(schedule_id))
    others = others.filter(Q(object_name=naming.name) | Q(before__name=naming.name))
    if naming.until is not None:
        others = others.filter(time__lt=naming.until)
    last = others.order_by("-time").values_list("time", flat=True).first()
    return naming if last is None else replace(naming, since=max(last, naming.since or last))


def _entries() -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(object_type=PeriodicTask._meta.label_lower)
