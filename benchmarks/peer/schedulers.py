"""django-celery-beat's scheduler, which also notes when what it sends was due: it stores that nowhere."""

from datetime import timedelta
from typing import Any

from django_celery_beat.schedulers import DatabaseScheduler

from benchmarks.jobs.text import note_time


class NotingScheduler(DatabaseScheduler):  # type: ignore[misc]  # has no types
    """For schedules with an interval."""

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        every: timedelta = entry.schedule.run_every
        note_time("due", (entry.last_run_at + every).timestamp())
        super().apply_entry(entry, producer=producer)
