"""Makes runs of the past, and prunes."""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from jobledger.models import Run, RunOutput, Status, Stream, Trigger
from jobledger.retention.batches import Count, Deletion
from jobledger.retention.pruning import Pruning


def ended(days_ago: float, **values: Any) -> Run:
    """A run that succeeded so many days ago, if nothing else is given."""
    time = timezone.now() - timedelta(days=days_ago)
    defaults = {"job": "probe", "trigger": Trigger.SCHEDULE, "status": Status.SUCCEEDED}
    return Run.objects.create(**{**defaults, "queued_at": time, "finished_at": time, **values})


def schedule(name: str = "at three", **values: Any) -> PeriodicTask:
    crontab = CrontabSchedule.objects.create(minute="0", hour="3")
    made: PeriodicTask = PeriodicTask.objects.create(
        name=name, task="probes.probe", crontab=crontab, **values
    )
    return made


def write_output(run: Run, *texts: str) -> None:
    RunOutput.objects.bulk_create(
        RunOutput(run=run, number=number, stream=Stream.STDOUT, text=text)
        for number, text in enumerate(texts)
    )


def prune() -> dict[str, int]:
    """Prune everything; returns how many of what were deleted."""
    return _counts(Pruning(Deletion(), timezone.now()))


def would_prune() -> dict[str, int]:
    return _counts(Pruning(Count(), timezone.now()))


def _counts(pruning: Pruning) -> dict[str, int]:
    return {each.what: each.count for each in (*pruning.runs(), *pruning.records())}


def is_there(row: Any) -> bool:
    return bool(type(row).objects.filter(pk=row.pk).exists())
