"""Totals of all runs that have ever ended, also of those that were deleted: see ``metrics.totals``."""

from typing import ClassVar

from django.db import models

from jobledger.models.json_fields import ObjectField


class RunTotal(models.Model):
    """The runs of a job with the same trigger that have ended in the same way. Its numbers never decrease."""

    job = models.CharField(max_length=200)
    trigger = models.CharField(max_length=16)
    status = models.CharField(max_length=16)
    count = models.BigIntegerField(default=0)
    last_ended_at = models.DateTimeField(null=True)
    duration = ObjectField(default=dict, help_text="How long they took: see metrics.histogram.")
    start_delay = ObjectField(default=dict, help_text="How late they started.")

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["job", "trigger", "status"], name="one_total_per_outcome"),
        ]

    def __str__(self) -> str:
        return f"{self.job} {self.trigger} {self.status}: {self.count}"


class CountedUntil(models.Model):
    """The run up to which all are in the totals, in the order of ``queued_at`` and id. There is one row.

    Runs before it that had not ended by then are in ``UncountedRun``.
    """

    queued_at = models.DateTimeField()
    run_id = models.UUIDField()
    counted_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.queued_at.isoformat()} {self.run_id}"


class UncountedRun(models.Model):
    """A run that had not ended when those around it were counted. Not a foreign key: it may be gone."""

    run_id = models.UUIDField(primary_key=True)

    def __str__(self) -> str:
        return str(self.run_id)
