"""Locks on the rows of schedules, and the order in which they are taken.

Two transactions that lock the same rows in opposite orders wait for each other, until PostgreSQL ends one of
them. So whoever locks several rows does so in the order of their keys, and those of several tables in this
order:

1. ``DeclaredSchedule``, then ``PeriodicTask``
2. ``Run``: one that ends, or those of a schedule that is deleted
3. ``SchedulePolicy``, and the schedule's links to calendars and predecessors
4. django-celery-beat's time of the last change, which every edit of a schedule changes
5. ``NextSlot``
6. ``AlertState``

Beat begins with ``NextSlot``, and waits for nothing that comes before it: it passes over what is locked
there, and comes again.
"""

from collections.abc import Iterable, Iterator

from django.db import connection
from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger.models import DeclaredSchedule, Run, Status

BATCH = 500
"""Databases limit the number of parameters."""


def locked() -> QuerySet[PeriodicTask]:
    """Schedules to be edited, with a lock on their rows until the end of the transaction.

    It excludes other edits, but not new runs that refer to a schedule: beat, which records them while it
    holds the schedule's row in the ledger, and an edit, which needs that row last, would wait for each other.
    """
    found: QuerySet[PeriodicTask] = PeriodicTask.objects.select_for_update(no_key=True)
    return found


def lock(schedule_ids: Iterable[int]) -> None:
    """Lock several schedules that are about to be changed. Does nothing if the database locks no rows."""
    if not connection.features.has_select_for_update:
        return
    for some in _batches(schedule_ids):
        list(locked().filter(pk__in=some).order_by("pk").values_list("pk", flat=True))


def lock_with_declarations(schedule_ids: Iterable[int]) -> None:
    """The same if what links them to the code may change as well."""
    ids = set(schedule_ids)
    for some in _batches(ids):
        declared = DeclaredSchedule.objects.select_for_update().filter(schedule__in=some)
        list(declared.order_by("pk").values_list("pk", flat=True))
    lock(ids)


def detach_runs(schedule_ids: Iterable[int]) -> None:
    """Let the runs of schedules that are about to be deleted no longer refer to them.

    The deletion would do so as well, but late: a run that fails may have to lock the schedule's policy. A run
    that waits for another one is changed while that one is locked, so the running ones come first.
    """
    for some in _batches(schedule_ids):
        runs = Run.objects.filter(schedule__in=some)
        for status in (Status.RUNNING, Status.QUEUED):
            live = runs.in_state(status).order_by("pk").select_for_update(no_key=True)
            list(live.values_list("pk", flat=True))
        runs.update(schedule=None)


def _batches(ids: Iterable[int]) -> Iterator[list[int]]:
    ordered = sorted(set(ids))
    for first in range(0, len(ordered), BATCH):
        yield ordered[first : first + BATCH]
