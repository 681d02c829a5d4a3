"""What users follow: jobs and schedules of whose failures they are told, and feeds at secret addresses."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.models.alert import AlertDestination


class Subscription(models.Model):
    """A user wants to be told when runs of a job, or of one schedule, fail and recover.

    The user is that of the destination, of which each user has one.
    """

    destination = models.ForeignKey(AlertDestination, on_delete=models.CASCADE, related_name="subscriptions")
    job = models.CharField(max_length=200, blank=True, help_text="Empty: a schedule.")
    schedule = models.ForeignKey(
        PeriodicTask,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="Whichever job it starts. Empty: all runs of the job.",
    )
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "subscription"
        verbose_name_plural = "subscriptions"
        default_permissions = ("view", "delete")
        ordering = ("job", "pk")
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["destination", "job"],
                condition=Q(schedule__isnull=True),
                name="one_subscription_per_job",
            ),
            models.UniqueConstraint(
                fields=["destination", "schedule"],
                condition=Q(schedule__isnull=False),
                name="one_subscription_per_schedule",
            ),
        ]

    def __str__(self) -> str:
        return f"schedule {self.schedule.name}" if self.schedule else f"job {self.job}"


class FeedKind(models.TextChoices):
    BADGE = "badge", "status badge"
    CALENDAR = "calendar", "calendar"


class Feed(models.Model):
    """A badge or a calendar that whoever knows its address may read, for as long as its maker may see it.

    The address is not stored: see ``feeds.secret_names``.
    """

    kind = models.CharField(max_length=8, choices=FeedKind)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    job = models.CharField(max_length=200, blank=True, help_text="Empty: a schedule, or all of them.")
    schedule = models.ForeignKey(
        PeriodicTask, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    seed = models.CharField(max_length=43, editable=False, help_text="With the secret key: the address.")
    digest = models.CharField(max_length=64, unique=True, editable=False, help_text="Of the address.")
    created_at = models.DateTimeField(default=timezone.now)
    renewed_at = models.DateTimeField(null=True, help_text="When it was given its present address.")

    class Meta:
        verbose_name = "feed"
        verbose_name_plural = "feeds"
        default_permissions = ("view", "delete")
        ordering = ("kind", "job", "pk")

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.about}"

    @property
    def about(self) -> str:
        if self.schedule is not None:
            return f"schedule {self.schedule.name}"
        return f"job {self.job}" if self.job else "all schedules"
