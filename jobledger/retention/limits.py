"""Which runs of a job are old enough to be deleted, and which of those are kept all the same.

A run may go once it ended longer ago than ``KEEP_DAYS``, and ``KEEP_RUNS`` newer runs of its job exist; a job
can declare limits of its own. A job and each of its schedules always keep their last success and their last
failure, and whatever else decides what happens next: an alert that no run has succeeded counts from the last
success, and a pause after failures looks at the last runs.

Nothing needs a run to know that a slot has been handled (``NextSlot.handled_until`` does), or that a message
is an old one (its header does). So a deleted run cannot start again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from jobledger.alerts import failure_pauses
from jobledger.conf import settings
from jobledger.jobs import registry
from jobledger.models import FAILURES, SUCCESSES, Run, Status, Trigger

MIN_KEPT = timedelta(days=1)
"""Whatever is set. Clocks that are set back, and messages that are delivered late, are off by less."""


@dataclass(frozen=True, kw_only=True)
class OldRun:
    """A run, as far as its deletion depends on it."""

    pk: UUID
    queued_at: datetime
    ended_at: datetime
    job: str
    status: Status
    schedule_id: int | None
    parent_id: UUID | None


FIELDS = ("pk", "queued_at", "finished_at", "job", "status", "schedule_id", "parent_id")


def old_run(values: Sequence[Any]) -> OldRun:
    """From the values of ``FIELDS``."""
    pk, queued_at, finished_at, job, status, schedule_id, parent_id = values
    return OldRun(
        pk=pk,
        queued_at=queued_at,
        ended_at=finished_at or queued_at,
        job=job,
        status=Status(status),
        schedule_id=schedule_id,
        parent_id=parent_id,
    )


def is_valid_keep_for(value: object) -> bool:
    """Whether a job may declare this as its ``keep_for``."""
    return value is None or (isinstance(value, timedelta) and value >= MIN_KEPT)


def is_valid_keep_runs(value: object) -> bool:
    """Whether a job may declare this as its ``keep_runs``."""
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1)


def before(now: datetime, days: float | None) -> datetime | None:
    """So many days ago; None if everything is kept."""
    try:
        return None if days is None else now - timedelta(days=days)
    except OverflowError:
        return None


class JobLimits:
    """The limits of one job, as of now. Remembers what it has looked up."""

    def __init__(self, job: str, now: datetime) -> None:
        self._job = job
        self.ended_before = ended_before(job, now)
        self.queued_before = self._find_queued_before() if self.ended_before else None
        self._last_of = cache(self._find_last)
        self._deciding_of = cache(self._find_deciding)

    def may_go(self, run: OldRun) -> bool:
        """Whether the run itself may be deleted, whatever other rows need it."""
        if self.queued_before is None or self.ended_before is None:
            return False
        is_old = run.queued_at < self.queued_before and run.ended_at < self.ended_before
        return run.status.is_final and is_old and not self._is_last(run) and not self._is_deciding(run)

    def _is_last(self, run: OldRun) -> bool:
        """Whether it is the last success or failure of its job, or of its schedule.

        The last failure is only looked for if there is one: of a job that has never failed, that would read
        all runs.
        """
        kinds = [statuses for statuses in (SUCCESSES, FAILURES) if run.status in statuses]
        return any(run.pk == self._last_of(of, kind) for kind in kinds for of in {None, run.schedule_id})

    def _is_deciding(self, run: OldRun) -> bool:
        return run.schedule_id is not None and run.pk in self._deciding_of(run.schedule_id)

    def _find_queued_before(self) -> datetime | None:
        """The oldest of the runs that are kept for their number, but no later than the other limit."""
        declared = registry.declaration_of(self._job).keep_runs
        count = settings.KEEP_RUNS if declared is None else declared
        kept = (
            Run.objects.newest_of_job(self._job)
            .values_list("queued_at", flat=True)[count - 1 : count]
            .first()
        )
        return min(kept, self.ended_before) if kept and self.ended_before else None

    def _find_last(self, schedule_id: int | None, statuses: tuple[Status, ...]) -> UUID | None:
        """The last run that ended so, of the schedule or, if there is none, of the job."""
        newest = (
            Run.objects.newest_of_job(self._job)
            if schedule_id is None
            else Run.objects.newest_of_schedule(schedule_id).exclude(trigger=Trigger.BACKFILL)
        )
        return newest.that_ended(*statuses).values_list("pk", flat=True).first()

    def _find_deciding(self, schedule_id: int) -> set[UUID]:
        return set(failure_pauses.deciding_runs(self._job, schedule_id))


def ended_before(job: str, now: datetime) -> datetime | None:
    """Runs of the job that ended before this may be deleted by now.

    None if they are all kept, also because nobody knows what its declaration means.
    """
    declared = registry.declaration_of(job)
    if not (is_valid_keep_for(declared.keep_for) and is_valid_keep_runs(declared.keep_runs)):
        return None
    days = settings.KEEP_DAYS if declared.keep_for is None else declared.keep_for / timedelta(days=1)
    return before(now, days)
