"""django-celery-beat's ``DatabaseScheduler``, which holds all schedules in memory."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from celery.beat import Scheduler
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import SCHEDULE_SYNC_MAX_INTERVAL

from benchmarks.scheduler.adapter import Adapter


class Stock(Adapter):
    """Inspects its memory."""

    burst_sample = 50

    def knows(self, scheduler: Scheduler, schedule: PeriodicTask) -> bool:
        """Whether the entry in memory has the crontab."""
        entry: Any = scheduler.schedule[schedule.name]
        return bool(entry.schedule.minute == {int(schedule.crontab.minute)})

    def sweep_interval_seconds(self) -> float:
        """From one full reload to the next."""
        return float(SCHEDULE_SYNC_MAX_INTERVAL)

    def slices(self) -> Iterator[float]:
        """Empty: every edit triggers a full reload instead."""
        return iter(())

    def scheduler_with_all_due(self) -> Scheduler:
        """Load it as if each schedule had last run two minutes ago."""
        PeriodicTask.objects.update(last_run_at=timezone.now() - timedelta(minutes=2))
        scheduler = self.scheduler()
        scheduler.tick()
        return scheduler


ADAPTER = Stock()
