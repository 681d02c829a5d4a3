"""Backfills: past slots of a schedule that users have asked to be run, a few at a time.

The slots are chosen when the backfill is started, and are rows: whoever starts the next runs, and however
often that is interrupted, each slot gets one run.
"""

from typing import ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.models.json_fields import ObjectField
from jobledger.models.states import Status, Trigger


class Backfill(models.Model):
    """A range of past slots of one schedule, which has no more than one unfinished backfill."""

    schedule = models.ForeignKey(
        PeriodicTask,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="backfills",
        db_constraint=False,
    )
    schedule_name = models.CharField(max_length=200, help_text="Kept when the schedule is deleted.")
    # Of its own, since the schedule may be edited in the meantime.
    job = models.CharField(max_length=200, help_text="The management command's name.")
    options = ObjectField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    since = models.DateTimeField("from", help_text="The start of the range (inclusive).")
    until = models.DateTimeField("to", help_text="The end of the range (exclusive).")
    parallel = models.PositiveIntegerField(
        "runs at once",
        default=1,
        validators=[MinValueValidator(1)],
        help_text="How many of its runs are queued or running at the same time at most.",
    )
    left_out = models.PositiveIntegerField(
        default=0, help_text="How many slots of the range were left out when it was started."
    )
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    username = models.CharField(max_length=200, blank=True, help_text="The user who started it.")
    trigger = models.CharField(max_length=16, choices=Trigger, help_text="Where that user started it.")
    look_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When beat looks at it next. Null once it is over."
    )
    cancelled_at = models.DateTimeField(null=True, blank=True)
    cancelled_by = models.CharField(max_length=200, blank=True)
    ended_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When the last of its runs had ended."
    )

    class Meta:
        verbose_name = "backfill"
        verbose_name_plural = "backfills"
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["schedule"], condition=Q(ended_at=None), name="one_unfinished_backfill"
            ),
        ]

    def __str__(self) -> str:
        return f"backfill {self.pk} of {self.schedule_name}"


class BackfillSlot(models.Model):
    """A slot that a backfill runs, and what became of it."""

    backfill = models.ForeignKey(Backfill, on_delete=models.CASCADE, related_name="slots", db_index=False)
    scheduled_for = models.DateTimeField(help_text="The slot: when it was due.")
    # Not a foreign key: a slot whose run was deleted has had its run all the same.
    run_id = models.UUIDField(null=True, help_text="The id of its run. Null: it is not its turn yet.")
    outcome = models.CharField(
        max_length=16, blank=True, choices=Status, help_text="The final status of its run, if it has ended."
    )

    class Meta:
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["backfill", "scheduled_for"], name="one_backfill_slot"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["run_id"], name="backfill_slot_by_run", condition=models.Q(run_id__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scheduled_for.isoformat()} of backfill {self.backfill_id}"
