"""This project's scheduler, whose state is in the database."""

from collections.abc import Iterator
from datetime import timedelta

from celery.beat import Scheduler
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from benchmarks.scheduler.adapter import Adapter
from benchmarks.scheduler.figures import timed
from jobledger.models import NextSlot, Run
from jobledger.schedules.reconciliation import PASS_INTERVAL_SECONDS, Reconciliation


class Ours(Adapter):
    """Reads and writes the ledger, as a test would."""

    def knows(self, scheduler: Scheduler, schedule: PeriodicTask) -> bool:
        """Whether the next slot matches the crontab."""
        slot = NextSlot.objects.get(pk=schedule.pk).slot
        return slot is not None and slot.minute == int(schedule.crontab.minute)

    def sweep_interval_seconds(self) -> float:
        """From the start of one pass to the next."""
        return PASS_INTERVAL_SECONDS

    def slices(self) -> Iterator[float]:
        """One pass of reconciliation; beat checks one slice per tick."""
        reconciliation = Reconciliation()
        is_complete: list[bool] = []
        while not any(is_complete):
            yield timed(lambda: is_complete.append(reconciliation.step()))

    def scheduler_with_all_due(self) -> Scheduler:
        """Set the ledger back to a minute before the last full minute."""
        scheduler = self.scheduler()
        NextSlot.objects.update(due_at=None)
        Run.objects.all().delete()
        scheduler.tick()
        minute = timezone.now().replace(second=0, microsecond=0)
        NextSlot.objects.update(slot=minute, due_at=minute, handled_until=minute - timedelta(minutes=1))
        return scheduler


ADAPTER = Ours()
