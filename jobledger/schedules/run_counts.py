"""django-celery-beat's own figures of a schedule, ``last_run_at`` and ``total_run_count``, for who reads it.

Nothing here is decided by them: the ledger is. So they are written when beat has a moment, many at once; a
beat that is killed leaves out those of its last tick.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from django.db.models import F
from django_celery_beat.models import PeriodicTask

from jobledger.models import Run

MOST = 20_000


class RunCounts:
    """What is not written yet."""

    def __init__(self) -> None:
        """Nothing so far."""
        self._counts: Counter[int | None] = Counter()
        self._last_run_at: datetime | None = None

    def add(self, runs: Sequence[Run], now: datetime) -> None:
        """Count runs of schedules that were recorded at this moment."""
        self._counts.update(run.schedule_id for run in runs)
        self._last_run_at = now

    @property
    def is_full(self) -> bool:
        """Whether they should be written however busy beat is."""
        return len(self._counts) >= MOST

    def write(self) -> None:
        """Write them. Raises what the database raises; what it took is not written again."""
        # Not in the transaction that records the runs: whoever edits a schedule locks it before its next
        # slot, this locks it after.
        for count in set(self._counts.values()):
            schedule_ids = [pk for pk, each in self._counts.items() if each == count]
            PeriodicTask.objects.filter(pk__in=schedule_ids).update(
                last_run_at=self._last_run_at, total_run_count=F("total_run_count") + count
            )
            for pk in schedule_ids:
                del self._counts[pk]
