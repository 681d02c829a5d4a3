"""The states of a run, what starts one, and the conditions that these and other columns make."""

from typing import Self

from django.db import models
from django.db.models import F
from django.db.models.expressions import Combinable
from django.db.models.functions import Coalesce, Least

from jobledger.reason import Reason


class _OpenChoices(models.TextChoices):
    """Choices of which a row may have another one, from another version, or written with SQL.

    It can be read, and is named as it is, but is none of the members, and no choice of a form.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        unknown = str.__new__(cls, value)
        unknown._name_ = unknown._value_ = unknown._label_ = value
        return unknown

    @property
    def is_known(self) -> bool:
        return self.value in type(self).values


class Status(_OpenChoices):
    """The states of a run; ``docs/reference/states.md`` has a state diagram."""

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    SUCCEEDED = "succeeded", "succeeded"
    FAILED = "failed", "failed"
    TIMED_OUT = "timed_out", "timed out"
    LOST = "lost", "lost"
    CANCELLED = "cancelled", "cancelled"
    SKIPPED = "skipped", "skipped"
    EXPIRED = "expired", "expired"
    MISSED = "missed", "missed"
    SENT = "sent", "sent"

    @property
    def is_final(self) -> bool:
        """Whether a run in this state has finished, or will never start. Nothing changes an unknown one."""
        return self not in LIVE


def one_more(column: str) -> Combinable:
    """The column's value and one, unless it is as large as it can be: nothing but SQL counts that far."""
    return Least(F(column), models.Value(MAX_COUNT - 1)) + 1


LIVE = (Status.QUEUED, Status.RUNNING)
SUCCESSES = (Status.SUCCEEDED, Status.SENT)
FAILURES = (Status.FAILED, Status.TIMED_OUT, Status.LOST)
"""The job was executed, but did not succeed."""
PROBLEMS = (*FAILURES, Status.MISSED, Status.EXPIRED)
"""Needs attention, most severe first: the run failed, or should have started but never did."""
COMPLETED = (Status.SUCCEEDED, *FAILURES)
"""Counts towards success rates: the job was executed and not cancelled."""


class Trigger(_OpenChoices):
    """What started a run."""

    SCHEDULE = "schedule", "schedule"
    ADMIN = "admin", "admin"
    API = "api", "API"
    CELERY = "celery", "celery call"
    CLI = "cli", "command line"
    CRON = "cron", "cron"
    JOB = "job", "another job"
    BACKFILL = "backfill", "backfill"
    CHAIN = "chain", "chain"
    TASK = "task", "enqueued task"


BY_MESSAGE = tuple(trigger for trigger in Trigger if trigger not in (Trigger.CLI, Trigger.CRON, Trigger.JOB))
"""What has a worker start runs; with the others, they start where they are called."""

MAX_COUNT = 2**31 - 1
"""The largest value of an integer column."""

AWAITS_RESULT = models.Q(status=Status.SENT, look_at__isnull=False)
"""An ordinary task whose end may still be read from Celery's result backend."""
OPEN = models.Q(status__in=LIVE) | AWAITS_RESULT
"""Its end is not known yet, but may be later: the opposite of ``Run.is_over``."""

CANCEL_ACCEPTED = models.Q(cancel_requested_at__isnull=False) & ~models.Q(reason=Reason.WORKER_SHUTDOWN)
"""A user or a newer run has cancelled the run for good; after a worker's shutdown it may start again."""

WAITING_SINCE = Coalesce("waiting_since", "queued_at")
"""Since when a queued run, or one that it has superseded, has been waiting."""

WAITS_FOR_RUN = ~models.Q(concurrency_key="") & models.Q(reason=Reason.OVERLAP)
"""A queued run waits for the end of another one; after that, it waits for a worker."""

IN_WORKER = models.Q(worker__contains="@")
"""A worker's process executes the run: those of the command line have names without ``@``."""
