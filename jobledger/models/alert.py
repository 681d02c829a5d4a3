"""Alerts: what calls for one, by which rule, to whom it is sent, and whether it has arrived.

An ``Alert`` is written in the transaction of the event that it reports, and one ``AlertDelivery`` for each of
its rule's destinations. ``jobledger.alerts`` describes how both are made and sent.

What is written with the end of a run has no foreign key constraints. Databases check these at the commit:
if the schedule or the destination was deleted at that moment, the end of the run would be lost.
"""

import uuid
from collections.abc import Sequence
from typing import Any, ClassVar

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.declaration import DEFAULT_ALERTS, MAX_FAILURES, AlertKind, Frequency
from jobledger.jobs.secrets import MASK
from jobledger.models.json_fields import ListField, ObjectField
from jobledger.models.run import Run


class DestinationKind(models.TextChoices):
    ADMINS = "admins", "mail to the administrators"
    MAIL = "mail", "mail"
    URL = "url", "URL"
    USER = "user", "mail to a user"


class AlertDestination(models.Model):
    """Where alerts are sent. Its URL is a secret."""

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=8, choices=DestinationKind, default=DestinationKind.MAIL)
    addresses = models.TextField(blank=True, help_text="Mail addresses, separated by commas.")
    url = models.TextField(
        "URL",
        blank=True,
        help_text="A URL of Apprise, such as slack://… or jsons://…. It is stored, but never shown again.",
    )
    enabled = models.BooleanField(default=True)
    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        editable=False,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="Whose subscriptions are sent there: see alerts.subscriptions.",
    )

    # The state of its deliveries, which only `jobledger.alerts.sending.delivery` changes.
    not_before = models.DateTimeField(
        null=True, editable=False, help_text="Nothing is sent before this time."
    )
    busy_until = models.DateTimeField(
        null=True, editable=False, help_text="A process is sending a message, and should be done by then."
    )
    busy_by = models.CharField(
        max_length=32, blank=True, default="", editable=False, help_text="The identity of that process."
    )
    failures = models.PositiveIntegerField(default=0, editable=False, help_text="How many failed in a row.")
    error = models.TextField(blank=True, editable=False, help_text="Why the last message was not delivered.")
    delivered_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = "alert destination"
        verbose_name_plural = "alert destinations"
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @property
    def masked_address(self) -> str:
        """Where it is, without the secrets in its URL."""
        match self.kind:
            case DestinationKind.ADMINS:
                return "the addresses in the setting ADMINS"
            case DestinationKind.MAIL:
                return ", ".join(self.mail_addresses)
            case DestinationKind.USER:
                return f"the user {self.user}"
        return f"{self.url.partition('://')[0]}://{MASK}"

    @property
    def mail_addresses(self) -> list[str]:
        """Empty for a URL, and if ADMINS is empty, or the user is inactive or has no address."""
        if self.kind == DestinationKind.USER:
            return list(filter(None, [mail_address(self.user)]))
        if self.kind == DestinationKind.ADMINS:
            admins: Sequence[Any] = settings.ADMINS
            # Plain addresses since Django 6.
            return [each if isinstance(each, str) else each[1] for each in admins]
        parts = self.addresses.replace("\n", ",").split(",") if self.kind == DestinationKind.MAIL else []
        return [part.strip() for part in parts if part.strip()]

    @property
    def is_usable(self) -> bool:
        """Whether alerts can be sent there at all."""
        return self.enabled and bool(self.url if self.kind == DestinationKind.URL else self.mail_addresses)


def mail_address(user: Any) -> str:
    """The address of an active user; empty if there is none."""
    if user is None or not user.is_active:
        return ""
    return str(getattr(user, user.get_email_field_name(), "") or "").strip()


def default_kinds() -> list[str]:
    return [kind.value for kind in DEFAULT_ALERTS]


class AlertRule(models.Model):
    """What to alert on, and whom. Rules for a schedule replace those for its job, those the general ones."""

    name = models.CharField(max_length=100, unique=True)
    enabled = models.BooleanField(default=True)
    job = models.CharField(max_length=200, blank=True, help_text="Empty: all jobs.")
    schedule = models.ForeignKey(
        PeriodicTask,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="alert_rules",
        help_text="Empty: all schedules, and runs without one.",
    )
    kinds = ListField(
        "alert when a run or schedule", default=default_kinds, blank=True, help_text="None: no alerts."
    )
    after_failures = models.PositiveIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_FAILURES)],
        help_text="How many runs must fail in a row before an alert is sent.",
    )
    every_failure = models.BooleanField(
        default=False, help_text="Alert on each further failure as well, until a run succeeds."
    )
    frequency = models.CharField(
        max_length=12,
        default=Frequency.IMMEDIATELY,
        choices=[
            (Frequency.IMMEDIATELY, "immediately"),
            (Frequency.DAILY, "once a day, at 8:00"),
            (Frequency.WEEKLY, "once a week, on Monday at 8:00"),
        ],
    )
    late_after = models.DurationField(
        null=True, blank=True, help_text="How long a run may be queued before it is late. Empty: any time."
    )
    success_within = models.DurationField(
        null=True,
        blank=True,
        help_text="How long a schedule may go without a successful run. Empty: as its job declares.",
    )
    include_attended = models.BooleanField(
        "include attended runs",
        default=False,
        help_text="Those started from the command line or by another job, where a failure is seen at once.",
    )
    destinations = models.ManyToManyField(AlertDestination, blank=True, related_name="rules")

    class Meta:
        verbose_name = "alert rule"
        verbose_name_plural = "alert rules"
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """One event that a rule alerts on.

    Its id is derived from the rule and the event, so an event that is noticed twice has one alert.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(
        max_length=12, choices=[(kind.value, kind.replace("_", " ")) for kind in AlertKind]
    )
    time = models.DateTimeField(default=timezone.now)
    job = models.CharField(max_length=200)
    run = models.ForeignKey(
        Run,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="alerts",
        db_index=False,
        db_constraint=False,
    )
    schedule = models.ForeignKey(
        PeriodicTask,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
        db_constraint=False,
    )
    schedule_name = models.CharField(max_length=200, blank=True)
    rule_name = models.CharField("rule", max_length=100)
    details = ObjectField(default=dict, help_text="The facts, such as how many runs failed in a row.")

    class Meta:
        verbose_name = "alert"
        verbose_name_plural = "alerts"
        default_permissions = ("view",)
        ordering = ("-time", "-pk")
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["-time", "-id"], name="alert_newest_first"),
            models.Index(fields=["run"], name="alert_by_run", condition=models.Q(run__isnull=False)),
            models.Index(
                fields=["schedule"], name="alert_by_schedule", condition=models.Q(schedule__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.schedule_name or self.job} {self.get_kind_display()}"


class DeliveryState(models.TextChoices):
    WAITING = "waiting", "waiting"
    SENDING = "sending", "being sent"
    DELIVERED = "delivered", "delivered"
    FAILED = "failed", "not delivered"
    UNKNOWN = "unknown", "may not have arrived"
    WITHDRAWN = "withdrawn", "no longer wanted"


class AlertDelivery(models.Model):
    """The way of an alert to one destination. Those that are sent in one message share its id."""

    alert = models.ForeignKey(
        Alert, on_delete=models.CASCADE, related_name="deliveries", db_index=False, db_constraint=False
    )
    destination = models.ForeignKey(
        AlertDestination,
        null=True,
        on_delete=models.SET_NULL,
        related_name="deliveries",
        db_index=False,
        db_constraint=False,
    )
    destination_name = models.CharField(max_length=100)
    state = models.CharField(max_length=12, choices=DeliveryState, default=DeliveryState.WAITING)
    due_at = models.DateTimeField(help_text="When it is sent, unless the destination is not ready.")
    created_at = models.DateTimeField(default=timezone.now)
    changed_at = models.DateTimeField(null=True, help_text="When it was sent, or last failed.")
    message = models.UUIDField(null=True)
    attempts = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        verbose_name = "delivery"
        verbose_name_plural = "deliveries"
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["alert", "destination"], name="one_delivery_per_destination"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["state", "due_at"], name="delivery_to_send"),
            models.Index(fields=["destination", "state", "due_at"], name="delivery_by_destination"),
        ]

    def __str__(self) -> str:
        return f"{self.destination_name}: {self.get_state_display()}"


class AlertState(models.Model):
    """What a rule knows of the recent runs of a job's schedule, or of its runs without one.

    There is no row for a job that has not failed recently.
    """

    rule = models.CharField(max_length=210, help_text="The rule's key.")
    job = models.CharField(max_length=200)
    schedule_key = models.BigIntegerField(default=0, help_text="The schedule's id; 0: no schedule.")
    state = ObjectField(default=dict)

    class Meta:
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["job", "schedule_key", "rule"], name="one_state_per_rule"),
        ]

    def __str__(self) -> str:
        return f"{self.rule} on {self.job}"
