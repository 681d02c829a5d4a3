"""Creates runs at known times, without executing anything."""

from datetime import timedelta

from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobledger.models import Run, Status, Trigger
from tests.unit.builders import NOON


def create_run(minutes: float = 0, **values: object) -> Run:
    """A run that was queued this many minutes after noon."""
    defaults = {"job": "probe", "trigger": Trigger.CLI, "status": Status.SUCCEEDED}
    return Run.objects.create(**{**defaults, "queued_at": NOON + timedelta(minutes=minutes), **values})


def schedule(name: str) -> PeriodicTask:
    """A schedule that is never due."""
    interval, _ = IntervalSchedule.objects.get_or_create(every=1, period=IntervalSchedule.DAYS)
    return PeriodicTask.objects.create(name=name, task="probes.probe", interval=interval, enabled=False)
