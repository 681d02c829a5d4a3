"""Declared schedules merged with those that are stored."""

from dataclasses import replace

from django_celery_beat.models import PeriodicTask

from jobledger.models import DeclaredSchedule, SchedulePolicy
from jobledger.schedules.declared import Declared
from jobledger.schedules.declared.merge import Merge, Values, merge
from jobledger.schedules.declared.values import declared_values, stored_values


def merged(one: Declared, record: DeclaredSchedule, schedule: PeriodicTask) -> Merge:
    """The merge for a schedule as it is now. Raises RuleError if the declared timing is invalid."""
    seen = as_meant(stored_values(schedule), schedule, record)
    return merge(code=declared_values(one), stored=seen, baseline=Values.from_json(record.declared))


def as_meant(stored: Values, schedule: PeriodicTask, record: DeclaredSchedule) -> Values:
    """The stored values, without what the service itself has disabled."""
    was_enabled = record.orphaned_at is not None and record.was_enabled
    return replace(stored, enabled=stored.enabled or was_enabled or is_spent(schedule))


def is_spent(schedule: PeriodicTask) -> bool:
    """Whether it was disabled because it runs only once, and has."""
    is_chained = SchedulePolicy.of(schedule).after
    return bool(schedule.one_off and not is_chained and not schedule.enabled and schedule.last_run_at)
