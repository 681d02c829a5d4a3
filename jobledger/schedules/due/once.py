"""Schedules that run only once: the ledger disables them in the transaction that records their run."""

from collections.abc import Iterator, Sequence

from django_celery_beat.models import PeriodicTask

from jobledger.models import NextSlot, Run, Status
from jobledger.schedules.stored_schedules import Loaded


def finished(advanced: Sequence[NextSlot], loaded: Loaded, runs: Sequence[Run]) -> Iterator[int]:
    """Those that have run, or have missed their time.

    Not if an edit has given them another time, unless they are limited to one run and have started it.
    """
    recorded = {run.schedule_id for run in runs}
    started = {run.schedule_id for run in runs if run.status == Status.QUEUED}
    for row in advanced:
        schedule = loaded.schedules.get(row.pk)
        if schedule is None or row.pk not in recorded or not schedule.one_off or schedule.policy.after:
            continue
        if row.slot is None or (row.pk in started and schedule.clocked_id is None):
            yield row.pk


def without_edited(rows: Sequence[NextSlot], loaded: Loaded) -> Sequence[NextSlot]:
    """The rows without those of such schedules that somebody is editing.

    The edit, which has locked the schedule that is to be disabled, needs its row next, and records what was
    due. If it is this transaction's own, nothing is left out.
    """
    once = [pk for pk, schedule in loaded.schedules.items() if schedule.one_off]
    if not once:
        return rows
    unlocked = PeriodicTask.objects.select_for_update(skip_locked=True, no_key=True).filter(pk__in=once)
    edited = set(once) - set(unlocked.values_list("pk", flat=True))
    return [row for row in rows if row.pk not in edited]
