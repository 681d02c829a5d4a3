"""Beats and workers, as they sign in the database to show that they work."""

from typing import ClassVar

from django.db import models
from django.utils import timezone


class ProcessKind(models.TextChoices):
    """What a process does."""

    BEAT = "beat", "beat"
    WORKER = "worker", "worker"


class ServiceProcess(models.Model):
    """A beat or a worker, and when it last showed that it works."""

    kind = models.CharField(max_length=8, choices=ProcessKind)
    name = models.CharField(
        max_length=200, help_text="A worker's Celery node name, or a beat's host and process ID."
    )
    identity = models.CharField(
        max_length=32, blank=True, help_text="Tells it from other processes that have its name."
    )
    started_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(db_index=True)
    version = models.CharField(max_length=100, blank=True, help_text="Of the code that it runs.")
    capacity = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many jobs a worker can run at a time now."
    )
    queues = models.JSONField(default=list, blank=True, help_text="The queues that a worker reads.")

    class Meta:
        verbose_name = "process"
        verbose_name_plural = "processes"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["kind", "name", "identity"], name="one_row_per_process"),
        ]

    def __str__(self) -> str:
        """Which process."""
        return f"{self.kind} {self.name}"
