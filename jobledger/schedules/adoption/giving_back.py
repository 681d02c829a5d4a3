"""Giving schedules back to django-celery-beat's own scheduler, so that it continues where beat stopped.

That scheduler starts whatever was due after ``last_run_at``, or after the last change of a schedule that has
never run. So each schedule gets its newest slot that is on record, or would have been due before the first
one that is not. What became due since beat stopped is started by the other scheduler.
"""

from collections.abc import Iterator

from django_celery_beat.models import PeriodicTask, PeriodicTasks

from jobledger.models import NextSlot
from jobledger.schedules import stored_schedules
from jobledger.schedules.rules.slots import previous_slot

_BATCH = 500


def give_back() -> int:
    """Prepare all enabled schedules; returns how many were changed. Beat must not run."""
    changed = list(_changed())
    PeriodicTask.objects.bulk_update(changed, ["last_run_at"], batch_size=_BATCH)
    PeriodicTasks.update_changed()
    return len(changed)


def _changed() -> Iterator[PeriodicTask]:
    next_slots = dict(NextSlot.objects.filter(slot__isnull=False).values_list("pk", "slot"))
    for _, schedule, _ in stored_schedules.each_enabled("pk"):
        slot = next_slots.get(schedule.pk) if schedule else None
        if schedule is None or slot is None or stored_schedules.why_broken(schedule):
            continue
        before = previous_slot(stored_schedules.times_of(schedule).rule, slot)
        if before is not None and before != schedule.last_run_at:
            schedule.last_run_at = before
            yield schedule
