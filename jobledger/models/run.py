"""The ledger: one row per run, and one for each of its earlier attempts.

A run changes its state only through ``Run.objects.move``: a conditional update, whose row count tells the
caller whether it was the one that changed it.
"""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.functions import Coalesce
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from jobledger.models.indexes import IndexOfFewer
from jobledger.models.json_fields import ListField, ObjectField
from jobledger.models.states import LIVE, Status, Trigger

MIN_ID_PREFIX_LENGTH = 4
_HEXADECIMAL = re.compile(r"[0-9a-f]{1,32}")
_NO_TIME = datetime.min.replace(tzinfo=UTC)


def id_prefix(text: str) -> str | None:
    """Normalize a run's id, or a prefix of one, to hexadecimal digits; None if it is not valid."""
    digits = text.strip().lower().replace("-", "")
    return digits if _HEXADECIMAL.fullmatch(digits) else None


def is_time(now: datetime | models.expressions.Combinable) -> models.Q:
    """Whether a queued run may start."""
    is_not_too_early = models.Q(start_after=None) | models.Q(start_after__lte=now)
    return is_not_too_early & (models.Q(start_before=None) | models.Q(start_before__gt=now))


class RunQuerySet(models.QuerySet["Run"]):
    def move(self, pk: uuid.UUID, *, from_status: Status, to: Status, **changes: Any) -> bool:
        """Move a run from one state to another; returns whether it was in the first.

        False means that another process was faster, and the caller must leave the run alone.
        """
        return self.filter(pk=pk).in_state(from_status).update(status=to, **changes) == 1

    def startable(self, now: datetime | models.expressions.Combinable) -> Self:
        """Queued runs that may start now: after their backoff, and before their deadline."""
        return self.filter(is_time(now), status=Status.QUEUED)

    def to_publish(self) -> Self:
        """Queued runs whose messages are to be sent, or sent again: the condition of an index."""
        return self.in_state(Status.QUEUED).filter(publish_after__isnull=False, finished_at=None)

    def to_expire(self) -> Self:
        """Queued runs that have a deadline, which only counts before they have started: likewise."""
        unstarted = self.filter(start_before__isnull=False, started_at=None, finished_at=None)
        return unstarted.in_state(Status.QUEUED)

    def queued_by_schedule(self, *triggers: str) -> Self:
        """The same with these triggers, to be found by their schedules."""
        # Without what the condition of ``run_to_publish`` says: PostgreSQL would read all of that. SQLite
        # would read the index on the trigger.
        queued = self.in_state(Status.QUEUED).filter(publish_after__isnull=False, schedule__isnull=False)
        return queued.that_have(trigger__in=triggers)

    def startable_run(self, pk: Any, now: datetime | models.expressions.Combinable) -> Self:
        """This run, if it is one of those."""
        return self.filter(is_time(now), pk=pk).in_state(Status.QUEUED)

    def with_id_prefix(self, text: str) -> Self:
        """The runs whose id has this prefix; none if it is not a valid prefix, or too short."""
        digits = id_prefix(text)
        if digits is None or len(digits) < MIN_ID_PREFIX_LENGTH:
            return self.none()
        # A range instead of a pattern, so that both databases use the primary key's index.
        first, last = (uuid.UUID(digits.ljust(32, digit)) for digit in "0f")
        return self.filter(pk__gte=first, pk__lte=last)

    def newest_of_job(self, job: str) -> Self:
        """The job's runs, newest first, from the index on job and time.

        With an equality condition, PostgreSQL may scan the runs of all jobs by time instead, which is slow if
        a job used to run often but has not run for a while. With a range, only one index has this order.
        """
        return self.filter(job__gte=job, job__lte=job).order_by("job", "-queued_at")

    def newest_of_schedule(self, schedule_id: int) -> Self:
        """The same for a schedule."""
        of_schedule = self.filter(schedule_id__gte=schedule_id, schedule_id__lte=schedule_id)
        return of_schedule.order_by("schedule_id", "-queued_at")

    def newest_startable(self, now: datetime) -> Self:
        """The same for those that may start: PostgreSQL may expect to find some soon in the whole table."""
        queued = self.filter(is_time(now), status__gte=Status.QUEUED, status__lte=Status.QUEUED)
        return queued.order_by("status", "-queued_at")

    def that_ended(self, *statuses: Status) -> Self:
        """Those with one of the statuses, to be read in the order of another index than that on the status.

        With a plain condition, SQLite would sort all runs with these statuses instead.
        """
        return self.in_state(*statuses)

    def in_state(self, *statuses: Status) -> Self:
        """Those in one of the states, to be found by another index than that on the status, such as by id.

        With a plain condition, PostgreSQL may look for the id among all that are queued: it expects none if
        there were none when the table was analyzed. So it may for one of few, or of a job that had no runs.
        """
        return self.that_have(status__in=statuses)

    def that_have(self, **conditions: Any) -> Self:
        """Those that meet conditions on columns with texts, which are not looked for by an index of these."""
        columns = {condition.partition("__")[0] for condition in conditions}
        unindexed = {f"own_{column}": Coalesce(column, models.Value("")) for column in columns}
        return self.alias(**unindexed).filter(**{f"own_{name}": value for name, value in conditions.items()})

    def still_to_publish(self, after: datetime | None) -> Self:
        """Those that are still queued, to be published after this time; found like that, too."""
        planned = Coalesce("publish_after", models.Value(_NO_TIME, models.DateTimeField()))
        return self.in_state(Status.QUEUED).alias(planned=planned).filter(planned=after or _NO_TIME)

    def unended(self) -> Self:
        """The ``OPEN`` ones, to be found like that."""
        return self.in_state(*LIVE, Status.SENT).exclude(status=Status.SENT, look_at=None)

    def newest_first(self) -> Self:
        return self.order_by("-queued_at", "-pk")


class ResourceUse(models.Model):
    """What an attempt has used, and the signal that ended it."""

    exit_signal = models.CharField(
        max_length=16, blank=True, default="", help_text="Such as SIGKILL, if a signal ended it."
    )
    peak_memory_bytes = models.BigIntegerField(
        null=True, blank=True, help_text="The most memory that its process and subprocesses needed at a time."
    )
    cpu_seconds = models.FloatField(null=True, blank=True)

    class Meta:
        abstract = True


class Run(ResourceUse):
    """One execution of a job, or the record that a slot was not executed.

    Its id is the id of the Celery task that executes it.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    job = models.CharField(max_length=200, help_text="The management command's name.")
    options = ObjectField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    args = ListField(default=list, blank=True, help_text="Positional arguments of an ordinary Celery task.")
    trigger = models.CharField(max_length=16, choices=Trigger)
    username = models.CharField(
        max_length=200,
        blank=True,
        help_text="The admin or operating system user who started it.",
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        db_index=False,
    )
    schedule = models.ForeignKey(
        PeriodicTask, null=True, blank=True, on_delete=models.SET_NULL, related_name="runs", db_index=False
    )
    schedule_name = models.CharField(
        max_length=200, blank=True, help_text="Kept when the schedule is deleted."
    )
    scheduled_for = models.DateTimeField(null=True, blank=True, help_text="The slot: when it was due.")
    moved_to = models.DateTimeField(
        null=True, blank=True, help_text="When it was due instead, if its schedule's calendars moved it."
    )
    coalesced = models.PositiveIntegerField(
        default=0,
        help_text="How many earlier slots this row also stands for; 100 means 100 or more.",
    )
    routing = ObjectField(
        default=dict,
        blank=True,
        help_text="The queue, exchange, routing key and priority that its schedule or its job set.",
    )
    enqueued_as = ObjectField(
        default=dict,
        blank=True,
        help_text="How Django's tasks enqueued it: backend, queue, priority, time, positional arguments.",
    )
    request_digest = models.CharField(
        max_length=64, blank=True, help_text="Of the request that started it, if that may be sent again."
    )
    # Kept with the run, which ends by them wherever it is executed, even if the schedule is gone by then.
    time_limit = models.DurationField(
        null=True, blank=True, help_text="Its schedule's, when it was created. Null: the job's."
    )
    time_limit_grace = models.DurationField(
        null=True, blank=True, help_text="The same for its time to clean up."
    )
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children", db_index=False
    )

    status = models.CharField(max_length=16, choices=Status, default=Status.QUEUED)
    # Changed with the status, by the same update: see jobledger.reason.
    reason = models.CharField(
        max_length=32, blank=True, default="", help_text="The code for why it is in this state."
    )
    reason_details = ObjectField(default=dict, blank=True, help_text="The facts behind the reason.")
    attempt = models.PositiveIntegerField(default=1)
    queued_at = models.DateTimeField(default=timezone.now)
    publish_after = models.DateTimeField(
        null=True, blank=True, help_text="When a queued run's message is published, or published again."
    )
    publish_count = models.PositiveIntegerField(default=0, help_text="How many times it was published.")
    deaths_before_start = models.PositiveSmallIntegerField(
        default=0, help_text="How many processes have died that were about to begin this attempt."
    )
    waiting_since = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Since when runs of its schedule have been waiting, if it has superseded some of them.",
    )
    sent_at = models.DateTimeField(
        null=True, blank=True, help_text="When the message of an ordinary task was sent."
    )
    look_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When beat looks for its end in Celery's result backend; see runs.elsewhere.",
    )
    start_after = models.DateTimeField(
        null=True,
        blank=True,
        help_text="A queued run never starts before this time. Set to the end of a retry's backoff.",
    )
    start_before = models.DateTimeField(
        null=True, blank=True, help_text="A queued run that has not started by this time expires."
    )
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    concurrency_key = models.CharField(
        max_length=310,
        blank=True,
        help_text="Runs with the same key do not run at the same time. Empty: runs may overlap.",
    )
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    progress_done = models.BigIntegerField(null=True, blank=True)
    progress_total = models.BigIntegerField(null=True, blank=True)
    worker = models.CharField(max_length=200, blank=True, help_text="The worker or process that executed it.")
    worker_identity = models.CharField(
        max_length=32,
        blank=True,
        help_text="Tells the worker that claimed it from others that have its name.",
    )
    exit_code = models.IntegerField(null=True, blank=True)
    error = models.TextField(blank=True, help_text="The error of the job, its parser or its process.")
    traceback = models.TextField(blank=True)
    trace_context = ObjectField(
        default=dict, blank=True, help_text="The trace of whoever started it, as W3C's headers; see tracing."
    )
    return_value = models.JSONField(null=True, blank=True, help_text="What a function returned.")
    left_behind = ListField(
        default=list, blank=True, help_text="Processes and threads that outlived its job; see runs.leftovers."
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        verbose_name = "run"
        verbose_name_plural = "runs"
        permissions = (("cancel_run", "Can cancel runs"), ("start_run", "Can start jobs"))
        constraints: ClassVar[list[models.BaseConstraint]] = [
            # A backfill gives a slot another run; ``BackfillSlot`` makes sure that it is only one.
            models.UniqueConstraint(
                fields=["schedule", "scheduled_for"],
                condition=~models.Q(trigger=Trigger.BACKFILL) & models.Q(scheduled_for__isnull=False),
                name="one_run_per_slot",
            ),
            models.UniqueConstraint(
                fields=["concurrency_key"],
                condition=models.Q(status=Status.RUNNING) & ~models.Q(concurrency_key=""),
                name="one_running_per_key",
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["-queued_at", "-id"], name="run_newest_first"),
            # Most runs have succeeded, and were started by a schedule: those are found among the newest.
            IndexOfFewer(
                fields=["status", "-queued_at"],
                name="run_by_status",
                condition=~models.Q(status=Status.SUCCEEDED),
            ),
            models.Index(fields=["job", "-queued_at"], name="run_by_job"),
            IndexOfFewer(
                fields=["trigger", "-queued_at"],
                name="run_by_trigger",
                condition=~models.Q(trigger=Trigger.SCHEDULE),
            ),
            models.Index(fields=["schedule", "-queued_at"], name="run_by_schedule"),
            # Most runs have neither.
            models.Index(fields=["user"], name="run_by_user", condition=models.Q(user__isnull=False)),
            models.Index(fields=["parent"], name="run_by_parent", condition=models.Q(parent__isnull=False)),
            # Beat queries by these at every tick. SQLite plans a query without knowing its parameters, so
            # it does not use a partial index whose condition compares with a value, and prefers an index
            # that matches more columns. None has a column that a heartbeat changes: PostgreSQL would then
            # add an entry to every index of the table each time. Those of queued runs do not begin with the
            # status, which their queries do not compare: PostgreSQL might sort all runs that have it instead.
            models.Index(
                fields=["concurrency_key", "queued_at"],
                name="run_waiting",
                condition=models.Q(status=Status.QUEUED) & ~models.Q(concurrency_key=""),
            ),
            models.Index(
                fields=["schedule"],
                name="run_in_backlog",
                condition=models.Q(publish_after__isnull=False, schedule__isnull=False),
            ),
            models.Index(
                fields=["start_before"],
                name="run_to_expire",
                condition=models.Q(start_before__isnull=False, started_at=None, finished_at=None),
            ),
            # No queued run has ended. This only keeps PostgreSQL from using it for ``queued_by_schedule``:
            # it takes both indexes for empty before it knows of a queue.
            models.Index(
                fields=["publish_after"],
                name="run_to_publish",
                condition=models.Q(publish_after__isnull=False, finished_at=None),
            ),
            models.Index(
                fields=["look_at"], name="run_to_look_for", condition=models.Q(look_at__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.job} {self.short_id}"

    def note(self, changes: Mapping[str, Any]) -> None:
        """Take over changes that an update has made to the row; what the database computed is read on use."""
        for name, value in changes.items():
            if not hasattr(value, "resolve_expression"):
                setattr(self, name, value)
            elif name in self.__dict__:
                delattr(self, name)

    @property
    def short_id(self) -> str:
        """The start of the id, for display."""
        return str(self.pk)[:8]

    @property
    def is_over(self) -> bool:
        """Whether it is in its final state, and nothing will change that."""
        return Status(self.status).is_final and not (self.status == Status.SENT and self.look_at is not None)

    @property
    def reference_time(self) -> datetime:
        """The slot; for a run without one, the time at which it started."""
        return self.scheduled_for or self.started_at or self.queued_at


class RunAttempt(ResourceUse):
    """The outcome of an earlier attempt of a run; that of the last one is in the run itself."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempts", db_index=False)
    attempt = models.PositiveIntegerField()
    status = models.CharField(max_length=16, choices=Status)
    reason = models.CharField(max_length=32, blank=True, default="")
    reason_details = ObjectField(default=dict)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField()
    worker = models.CharField(max_length=200, blank=True)
    exit_code = models.IntegerField(null=True)
    error = models.TextField(blank=True)
    traceback = models.TextField(blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["run", "attempt"], name="one_row_per_attempt"),
        ]

    def __str__(self) -> str:
        return f"{self.run_id} attempt {self.attempt}"
