"""Running beats and workers, which report in the database that they are alive."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar

from django.db import models
from django.utils import timezone

from jobledger.models.json_fields import ListField


class ProcessKind(models.TextChoices):
    BEAT = "beat", "beat"
    WORKER = "worker", "worker"


def queue_names(queues: Iterable[Any]) -> list[str]:
    """Those among stored ``queues``."""
    return [each for each in queues if isinstance(each, str)]


class ServiceProcess(models.Model):
    """A beat or a worker, and when it last reported that it is alive. Kept for a day afterwards."""

    kind = models.CharField(max_length=8, choices=ProcessKind)
    name = models.CharField(
        max_length=200, help_text="A worker's Celery node name, or a beat's host and process ID."
    )
    identity = models.CharField(
        max_length=32, blank=True, help_text="Distinguishes it from other processes of the same name."
    )
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(db_index=True)
    ended_at = models.DateTimeField(
        null=True, blank=True, help_text="When it shut down, if it did so in an orderly way."
    )
    version = models.CharField(max_length=100, blank=True, help_text="The version of the code it runs.")
    capacity = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many jobs the worker can currently run at the same time."
    )
    busy = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many tasks the worker is currently executing."
    )
    message_at = models.DateTimeField(
        null=True, blank=True, help_text="When the worker last took a message from a queue."
    )
    clock_offset = models.DurationField(
        default=timedelta(0), help_text="How far its clock is ahead of the database's."
    )
    queues = ListField(default=list, blank=True, help_text="The queues that a worker consumes.")

    class Meta:
        verbose_name = "process"
        verbose_name_plural = "processes"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["kind", "name", "identity"], name="one_row_per_process"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
