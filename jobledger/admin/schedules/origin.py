"""Where a schedule comes from: the admin, or the code, with the fields in which the two differ."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.admin import audit_log
from jobledger.admin.rights import User
from jobledger.admin.schedules.snapshot import changes_between, fingerprint, snapshot_of
from jobledger.admin.schedules.status import unreadable_of
from jobledger.conf import settings
from jobledger.models import DeclaredSchedule, SchedulePolicy
from jobledger.schedules import locking
from jobledger.schedules.declared import Declared, by_name
from jobledger.schedules.declared.merge import Merge, State
from jobledger.schedules.declared.merged import merged
from jobledger.schedules.declared.outcomes import Difference
from jobledger.schedules.declared.sync import differences, may_be_declared, resolve
from jobledger.schedules.declared.values import LABELS, declared_values, stored_values
from jobledger.schedules.rules.slots import RuleError

STATES = {
    State.DRIFT: "changed here and in the code",
    State.EDITED: "changed here",
    State.CODE: "changed in the code; the next deployment applies it",
}


class OriginConflictError(Exception):
    """The schedule, or its declaration, is no longer as the user saw it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A field whose stored value is not the code's."""

    difference: Difference
    state: State

    @property
    def text(self) -> str:
        return STATES[self.state]

    @property
    def is_drift(self) -> bool:
        return self.state is State.DRIFT


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The declaration that a schedule comes from."""

    name: str
    """Its name there."""
    job: str = ""
    """The job whose schedule it is; empty if it is no longer declared."""
    is_in_settings: bool = False
    """Whether the settings declare it, and not the job itself."""
    is_unavailable: bool = False
    """Whether its job cannot be imported, so that it is not known what it declares."""
    orphaned_at: datetime | None = None
    problem: str = ""
    """Why the declaration cannot be read."""
    environment: str = ""
    """Why it is disabled in this environment; empty if it is not."""
    rows: Sequence[Row] = ()
    version: str = ""
    """Changes whenever the stored or the declared values do."""

    @property
    def is_orphaned(self) -> bool:
        return not (self.job or self.is_unavailable)

    @property
    def orphaned_since(self) -> str:
        return formats.exact(self.orphaned_at) if self.orphaned_at else ""

    def labels(self, state: State) -> str:
        """The fields in this state."""
        return ", ".join(row.difference.label for row in self.rows if row.state is state)

    @property
    def drift(self) -> str:
        return self.labels(State.DRIFT)

    @property
    def edited(self) -> str:
        return self.labels(State.EDITED)


def origins(schedules: Collection[PeriodicTask]) -> dict[int, Origin]:
    """The origins of those schedules that come from the code, by primary key, with one query."""
    ids = [schedule.pk for schedule in schedules]
    records = {record.schedule_id: record for record in DeclaredSchedule.objects.filter(schedule__in=ids)}
    declared = by_name() if records else {}
    return {
        schedule.pk: _origin(record, schedule, declared.get(record.name))
        for schedule in schedules
        if (record := records.get(schedule.pk))
    }


def from_code() -> dict[int, Origin]:
    """The origins of all schedules that come from the code. There are few of them."""
    ids = DeclaredSchedule.objects.filter(schedule__isnull=False).values("schedule")
    schedules = list(PeriodicTask.objects.filter(pk__in=ids))
    # Loads their times together.
    unreadable_of(schedules)
    return origins(schedules)


@transaction.atomic
def settle(user: User, schedule: PeriodicTask, field: str, *, is_code_right: bool, version: str) -> str:
    """Give a field the code's value, or keep the stored one for good; returns a text that says so.

    Raises OriginConflictError if the user has not seen the values as they are now.
    """
    # In the order in which a sync locks them.
    record = DeclaredSchedule.objects.select_for_update().filter(schedule=schedule).first()
    stored = locking.locked().filter(pk=schedule.pk).first()
    origin = origins([stored]).get(stored.pk) if stored else None
    if record is None or stored is None or origin is None or origin.version != version:
        raise OriginConflictError
    old = snapshot_of(stored, SchedulePolicy.of(stored))
    resolve(record.pk, field, is_code_right=is_code_right)
    if not is_code_right:
        text = f"Kept {LABELS[field]}, although the code has changed it."
        audit_log.log_action(user, [stored], text)
        return text
    changed = PeriodicTask.objects.get(pk=schedule.pk)
    new = snapshot_of(changed, SchedulePolicy.of(changed))
    changes = changes_between(old, new)
    audit_log.log_edit(user, changed, changes, before=old.document, after=new.document)
    return f"{LABELS[field]} has the value from the code again."


def _origin(record: DeclaredSchedule, schedule: PeriodicTask, declared: Declared | None) -> Origin:
    if declared is None:
        unknown = may_be_declared(record)
        return Origin(name=record.name, orphaned_at=record.orphaned_at, is_unavailable=unknown)
    try:
        code, result = declared_values(declared), merged(declared, record, schedule)
    except (RuleError, TypeError, ValueError) as error:
        return Origin(name=record.name, job=declared.job.name, problem=str(error))
    stored = stored_values(schedule)
    version = json.dumps([each.as_json() for each in (code, stored, result.baseline)], sort_keys=True)
    return Origin(
        name=record.name,
        job=declared.job.name,
        is_in_settings=declared.is_in_settings,
        orphaned_at=record.orphaned_at,
        environment="" if schedule.enabled else _why_disabled_here(declared),
        rows=[
            Row(difference=each, state=result.states[each.field])
            for each in differences(stored, code, _shown(result))
        ],
        version=fingerprint(version),
    )


def _shown(result: Merge) -> list[str]:
    return result.fields_in(*STATES)


def _why_disabled_here(declared: Declared) -> str:
    only_in = declared.schedule.only_in
    if not only_in or not declared.schedule.enabled or declared.is_enabled_here:
        return ""
    where = f"this is {settings.ENVIRONMENT}" if settings.ENVIRONMENT else "this environment has no name"
    return f"enabled only in {', '.join(only_in)}; {where}"
