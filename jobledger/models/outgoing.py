"""What is to be sent about a run, each once: pings of external monitors, and reports to Sentry.

The rows are written with the start or the end of the run, without foreign key constraints, as alerts are.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models import Exists, OuterRef
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.models.run import Run
from jobledger.models.states import LIVE, one_more

CLAIMED_FOR = timedelta(minutes=1)
FIRST_BACKOFF = timedelta(seconds=10)
MAX_DOUBLINGS = 5
KEPT_FOR = timedelta(days=1)


class OutgoingQuerySet(models.QuerySet[Any]):
    def due(self, now: datetime) -> Self:
        """Those to be sent now, in order."""
        return self.filter(due_at__lte=now).order_by("pk")

    def claim(self, pk: int, now: datetime) -> Any:
        """It, with its run, if no other process sends it now; after a minute, another may try.

        None as well if the run has been deleted.
        """
        changes = {"due_at": now + CLAIMED_FOR, "attempts": one_more("attempts")}
        if not self.filter(pk=pk, due_at__lte=now).update(**changes):
            return None
        return self.select_related("run").filter(pk=pk).first()

    def postpone(self, pks: Sequence[int], failed: Any, error: str, now: datetime) -> None:
        """Have them wait, and for longer each time. The one that has ``failed`` was claimed."""
        delay = FIRST_BACKOFF * (1 << min(failed.attempts - 1, MAX_DOUBLINGS))
        self.filter(pk__in=pks, due_at__isnull=False).update(due_at=now + delay)
        self.filter(pk=failed.pk).update(error=error)

    def forget(self, now: datetime) -> None:
        """Delete those of more than a day ago that were sent or given up, unless their run goes on.

        The start of a run that is forgotten would be recorded and sent again.
        """
        old = self.filter(due_at=None, created_at__lte=now - KEPT_FOR)
        # Each by its id: a list of those that go on would also have all that are queued.
        goes_on = Run.objects.filter(pk=OuterRef("run")).in_state(*LIVE)
        old.exclude(Exists(goes_on)).delete()


class Outgoing(models.Model):
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(null=True, help_text="Null once it was sent or given up.")
    attempts = models.PositiveIntegerField(default=0)
    sent_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    objects = OutgoingQuerySet.as_manager()

    class Meta:
        abstract = True


class PingEvent(models.TextChoices):
    START = "start", "start"
    SUCCESS = "success", "success"
    FAIL = "fail", "failure"


class Ping(Outgoing):
    """A request to the external monitor of a schedule: one of its runs has started or ended."""

    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, related_name="pings", db_index=False, db_constraint=False
    )
    schedule = models.ForeignKey(
        PeriodicTask, on_delete=models.CASCADE, related_name="+", db_index=False, db_constraint=False
    )
    event = models.CharField(max_length=8, choices=PingEvent)

    class Meta:
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "event"], name="one_ping_per_event"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at", "created_at"], name="ping_to_send"),
        ]

    def __str__(self) -> str:
        return f"{self.event} of {self.run_id}"


class SentryReportKind(models.TextChoices):
    FAILURE = "failure", "event of a failed run"
    IN_PROGRESS = "in_progress", "check-in: in progress"
    OK = "ok", "check-in: ok"
    ERROR = "error", "check-in: error"


class SentryReport(Outgoing):
    """What Sentry is to hear of a run."""

    run = models.ForeignKey(
        Run, on_delete=models.CASCADE, related_name="sentry_reports", db_index=False, db_constraint=False
    )
    kind = models.CharField(max_length=12, choices=SentryReportKind)

    class Meta:
        default_permissions = ()
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "kind"], name="one_report_per_kind"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["due_at", "created_at"], name="report_to_send"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.run_id}"
