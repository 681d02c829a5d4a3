"""What the service stores in addition to django-celery-beat's schedules.

A ``SchedulePolicy`` has the settings that ``PeriodicTask`` has no fields for. ``NextSlot`` is beat's only
state: one row per enabled schedule, with an index on ``due_at``. A ``Pause`` stops one schedule, or all of
them, for a time. A ``DeclaredSchedule`` keeps track of a schedule created from code.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, Self

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.jobs.declaration import (
    MAX_CATCH_UP,
    MAX_FAILURES,
    MAX_TIME_LIMIT,
    Concurrency,
    LeftOutSlots,
    Misfire,
    PausedSlots,
)

MISFIRE_LABELS = (
    (Misfire.ONCE, "run once for all of them"),
    (Misfire.SKIP, "skip them"),
    (Misfire.ALL, "run each of them"),
)


LEFT_OUT_LABELS = (
    (LeftOutSlots.SKIP, "skip them"),
    (LeftOutSlots.MOVE, "run them at the same time on the next day that is not left out"),
)


class Dialect(StrEnum):
    """How a stored crontab is read."""

    CRON = "cron"
    """As Debian's cron does: a day matches the day of month **or** the weekday, if both are restricted."""
    CELERY = "celery"
    """As django-celery-beat's own scheduler does: a day must match both."""


DIALECT_LABELS = ((Dialect.CRON, "cron"), (Dialect.CELERY, "Celery's crontab"))


class After(StrEnum):
    """When a schedule starts that has predecessors instead of times."""

    SUCCESS = "success"
    """When their runs have succeeded."""
    END = "end"
    """When their runs have ended, successfully or not."""


AFTER_LABELS = ((After.SUCCESS, "have succeeded"), (After.END, "have ended"))
CONCURRENCY_LABELS = (
    ("", "use the job's setting"),
    (Concurrency.FORBID, "skip this run"),
    (Concurrency.QUEUE, "wait until it has ended"),
    (Concurrency.REPLACE, "cancel it and start this run"),
    (Concurrency.ALLOW, "run both"),
)


def this_second() -> datetime:
    """Now, in whole seconds, which makes an interval's anchor easier to read."""
    return timezone.now().replace(microsecond=0)


class SchedulePolicy(models.Model):
    """A schedule's settings for slots that cannot start on time. The defaults suit users of cron."""

    schedule = models.OneToOneField(
        PeriodicTask, primary_key=True, on_delete=models.CASCADE, related_name="policy"
    )
    misfire = models.CharField(
        "missed runs",
        max_length=8,
        default=Misfire.ONCE,
        choices=MISFIRE_LABELS,
        help_text="What happens to runs that could not start on time, because beat or the workers were down.",
    )
    catch_up_limit = models.PositiveIntegerField(
        default=100,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_CATCH_UP)],
        help_text="With “run each of them”: how many missed runs to start at most. The newest are chosen.",
    )
    starting_deadline = models.DurationField(
        null=True, blank=True, help_text="How late a run may still start (HH:MM:SS). Empty: no deadline."
    )
    jitter = models.DurationField(
        default=timedelta(0),
        blank=True,
        help_text="Delays every run of this schedule by the same random amount below this (HH:MM:SS).",
    )
    concurrency = models.CharField(
        "if the previous run is still running",
        max_length=8,
        blank=True,
        choices=CONCURRENCY_LABELS,
    )
    time_limit = models.DurationField(
        null=True,
        blank=True,
        validators=[MinValueValidator(timedelta(microseconds=1)), MaxValueValidator(MAX_TIME_LIMIT)],
        help_text="How long a run of this schedule may take (HH:MM:SS). Empty: as its job says.",
    )
    time_limit_grace = models.DurationField(
        "time to clean up",
        null=True,
        blank=True,
        validators=[MinValueValidator(timedelta(0)), MaxValueValidator(MAX_TIME_LIMIT)],
        help_text="How long it may clean up after that, before it is killed. Empty: as its job says.",
    )
    max_live_per_schedule = models.PositiveIntegerField(
        "limit of this schedule's live runs",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Where runs may overlap: while so many of its runs are queued or running, further ones are "
        "skipped. Empty: the job's limit.",
    )
    max_live = models.PositiveIntegerField(
        "limit of the job's live runs",
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="The same for all runs of the job, however they were started.",
    )
    pause_after_failures = models.PositiveIntegerField(
        "pause after failures",
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_FAILURES)],
        help_text="Pauses the schedule after so many failed runs in a row. 0: never. Empty: as its job says.",
    )
    failure_pause = models.DurationField(
        "length of that pause",
        null=True,
        blank=True,
        help_text="How long such a pause lasts (HH:MM:SS). Empty: until a user resumes the schedule.",
    )
    left_out = models.CharField(
        "runs that calendars leave out",
        max_length=8,
        default=LeftOutSlots.SKIP,
        choices=LEFT_OUT_LABELS,
    )
    calendars = models.TextField(
        default="",
        blank=True,
        editable=False,
        help_text="A copy of its calendars, so that beat reads nothing else; see schedules.calendars.",
    )
    after = models.CharField(
        max_length=8,
        blank=True,
        choices=AFTER_LABELS,
        editable=False,
        help_text="If it has predecessors instead of times: what their runs must have done before it starts.",
    )
    ping_url = models.TextField(
        "ping URL",
        blank=True,
        help_text="The address of an external monitor, such as Healthchecks.io, which hears of every start, "
        "success and failure. It is stored, but never shown again.",
    )
    imported_line = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="A digest of the line of a crontab that it was made of, which is not imported again, "
        "however the schedule is edited.",
    )
    anchor = models.DateTimeField(
        default=this_second,
        editable=False,
        help_text="What an interval counts from, unless the schedule has a start time.",
    )

    dialect = models.CharField(
        max_length=8,
        default=Dialect.CRON,
        choices=DIALECT_LABELS,
        help_text="How its crontab is read. Schedules that were made for django-celery-beat's own scheduler "
        "keep Celery's rules.",
    )

    class Meta:
        verbose_name = "policy"
        verbose_name_plural = "policies"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(catch_up_limit__gte=1, catch_up_limit__lte=MAX_CATCH_UP),
                name="catch_up_within_limits",
            ),
            models.CheckConstraint(
                condition=Q(time_limit=None) | Q(time_limit__gt=timedelta(0), time_limit__lte=MAX_TIME_LIMIT),
                name="time_limit_within_limits",
            ),
            models.CheckConstraint(
                condition=Q(time_limit_grace=None)
                | Q(time_limit_grace__gte=timedelta(0), time_limit_grace__lte=MAX_TIME_LIMIT),
                name="time_limit_grace_within_limits",
            ),
        ]

    def __str__(self) -> str:
        return self.get_misfire_display()

    def validate_constraints(self, exclude: Collection[str] | None = None) -> None:
        """The fields' validators say the same; Django would ask the database about each constraint."""

    @classmethod
    def of(cls, schedule: PeriodicTask) -> "SchedulePolicy":
        """The schedule's policy; if it has none yet, an unsaved one.

        A stored schedule without a policy was made without this service, so it keeps its meaning: its crontab
        is read as Celery does, and its interval counts from its last run.
        """
        found: SchedulePolicy | None = getattr(schedule, "policy", None)
        if found or schedule.pk is None:
            return found or cls(schedule=schedule)
        anchor = schedule.last_run_at or schedule.date_changed or this_second()
        return cls(schedule=schedule, dialect=Dialect.CELERY, anchor=anchor.replace(microsecond=0))


class NextSlot(models.Model):
    """When an enabled schedule is due next. Beat reads only the rows that are due."""

    schedule = models.OneToOneField(
        PeriodicTask, primary_key=True, on_delete=models.CASCADE, related_name="next_slot"
    )
    slot = models.DateTimeField(
        null=True, blank=True, help_text="Null if the schedule is never due again, or is broken."
    )
    due_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="When beat plans it next: the slot plus its jitter."
    )
    look_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When beat looks whether its predecessors have ended. Null if it has times of its own.",
    )
    handled_until = models.DateTimeField(help_text="Every slot up to this time has its run.")
    recorded_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When slots were last recorded. If its last run is later, another scheduler ran it.",
    )
    timing = models.TextField(help_text="The schedule's timing, as of when this row was computed.")
    target = models.TextField(
        blank=True, help_text="What the schedule starts and its routing, as last validated."
    )
    broken = models.TextField(blank=True, help_text="Why the schedule cannot be evaluated.")
    version = models.CharField(
        max_length=100, blank=True, help_text="The version of the code that computed this."
    )

    class Meta:
        verbose_name = "next slot"
        verbose_name_plural = "next slots"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(broken="") | Q(due_at=None), name="broken_is_never_due"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            # Of those that start after others, which are few.
            models.Index(fields=["look_at"], name="slot_to_look_at", condition=Q(look_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return self.broken or (self.slot.isoformat() if self.slot else "never")


class PauseQuerySet(models.QuerySet["Pause"]):
    def active_at(self, time: datetime) -> Self:
        return self.filter(Q(until=None) | Q(until__gt=time), since__lte=time)

    def ending_after(self, time: datetime) -> Self:
        """The pauses that end after this time, or are open-ended."""
        return self.filter(Q(until=None) | Q(until__gt=time))


class Pause(models.Model):
    """A period during which a schedule, or the whole service if there is none, starts nothing."""

    schedule = models.ForeignKey(
        PeriodicTask, null=True, blank=True, on_delete=models.CASCADE, related_name="pauses"
    )
    since = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField(
        null=True, blank=True, help_text="When the pause ends. Empty: when a user resumes."
    )
    reason = models.CharField(max_length=500, blank=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    username = models.CharField(max_length=200, blank=True, help_text="The user who paused it.")
    on_resume = models.CharField(
        "runs due during the pause",
        max_length=8,
        default=PausedSlots.SKIP,
        choices=[
            (PausedSlots.SKIP, "skip them"),
            (PausedSlots.RUN_ONCE, "run the latest one when the pause ends"),
        ],
    )

    objects = PauseQuerySet.as_manager()

    class Meta:
        verbose_name = "pause"
        verbose_name_plural = "pauses"
        permissions = (("pause_schedule", "Can pause and resume schedules and the service"),)

    def __str__(self) -> str:
        what = self.schedule.name if self.schedule else "everything"
        return f"{what} paused {self.terms(datetime.isoformat)}"

    def is_active_at(self, time: datetime) -> bool:
        return self.since <= time and (self.until is None or self.until > time)

    def terms(self, format_time: Callable[[datetime], str]) -> str:
        """The user, the end and the reason, as formatted by ``pause_terms``."""
        until = format_time(self.until) if self.until else None
        return pause_terms(until, username=self.username, reason=self.reason)


def pause_terms(until: str | None, *, username: str = "", reason: str = "") -> str:
    """``by ann until 2026-11-22 12:00 UTC: database migration``, to be printed after "paused".

    ``until`` is already formatted; None for an open-ended pause.
    """
    by = f"by {username} " if username else ""
    return f"{by}until {until or 'resumed'}" + (f": {reason}" if reason else "")


class DeclaredSchedule(models.Model):
    """What is known of a schedule that is declared in code, by the name that it has there.

    ``declared`` is the baseline: the declared values as last applied, the common ancestor for merging later
    changes of the code with users' edits. The row outlives the schedule, so that one that a user deleted is
    not created again.
    """

    name = models.CharField(max_length=200, unique=True)
    schedule = models.ForeignKey(
        PeriodicTask, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    declared = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    orphaned_at = models.DateTimeField(
        null=True, blank=True, help_text="When it was disabled, because the code no longer declares it."
    )
    was_enabled = models.BooleanField(default=True, help_text="Whether it was enabled then.")

    def __str__(self) -> str:
        return self.name
