"""Chains: schedules that start after others instead of at times of their own."""

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.models.run import Run


class Predecessor(models.Model):
    """That a schedule, the follower, starts after another one."""

    follower = models.ForeignKey(PeriodicTask, on_delete=models.CASCADE, related_name="predecessors")
    schedule = models.ForeignKey(
        PeriodicTask,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="followers",
        help_text="Null: there is no such schedule (any more), so the follower never starts.",
    )
    name = models.CharField(max_length=200, help_text="Kept when the schedule is deleted.")
    counted_until = models.DateTimeField(
        default=timezone.now, help_text="What was due up to this time has been counted, or never counts."
    )

    class Meta:
        verbose_name = "predecessor"
        verbose_name_plural = "predecessors"
        default_permissions = ()
        ordering: ClassVar[list[str]] = ["name", "pk"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["follower", "schedule"], name="one_link_per_predecessor"),
        ]

    def __str__(self) -> str:
        return f"{self.follower_id} after {self.current_name}"

    @property
    def current_name(self) -> str:
        return self.schedule.name if self.schedule else self.name


class ChainStart(models.Model):
    """That a run of a predecessor is among those that have started a follower, for a scheduled time.

    It names the follower's slot instead of its run, whose row may come to stand for a newer slot.
    """

    # Not read before its schedule is deleted: there may be many, and they go with the predecessor's run.
    schedule = models.ForeignKey(
        PeriodicTask, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    scheduled_for = models.DateTimeField()
    predecessor = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="chain_starts")

    class Meta:
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["schedule", "scheduled_for", "predecessor"], name="one_chain_start"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.predecessor_id} started {self.schedule_id} for {self.scheduled_for.isoformat()}"
