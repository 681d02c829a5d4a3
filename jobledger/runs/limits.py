"""How long a run may take and clean up, and how much memory it may use.

A schedule's own time limit is stored on each of its runs when the run is created, and wins over the job's. It
is that of all attempts, and of a run that repeats this one: an edit of the schedule concerns later runs
alone. Where the schedule says nothing, the job's declaration counts, as the process that executes or ends
the run knows it.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict, overload

from jobledger.formats import MAX_DURATION, duration, size_from_text
from jobledger.jobs import registry
from jobledger.jobs.declaration import JobDeclaration
from jobledger.models import Reason, Run, SchedulePolicy, Status, Trigger, Why

OF_SCHEDULE = "schedule"
"""The fact ``set_by`` of a run that exceeded its schedule's time limit, and not its job's."""
HARD_LIMIT_MARGIN_SECONDS = 10
"""Gives the service time to kill the run itself first, because it can record more."""
MAX_HARD_LIMIT_SECONDS = 10 * 365 * 24 * 3600
"""Workers reject messages with a longer one."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may use."""

    time_limit: timedelta | None
    grace: timedelta
    """How long it may clean up after its time limit or a cancel, before it is killed."""
    memory_bytes: int | None = None
    """How much memory it may use; enforced by ``memory_limit``."""
    is_of_schedule: bool = False
    """Whether the schedule has set the time limit, and not the job."""

    @property
    def set_by(self) -> str | None:
        """Who has set the time limit; None if there is none."""
        if self.time_limit is None:
            return None
        return OF_SCHEDULE if self.is_of_schedule else "job"

    @property
    def hard_limit_seconds(self) -> float | None:
        """Celery's hard time limit: the last resort for a job that nothing inside its process can end."""
        if self.time_limit is None:
            return None
        seconds = (self.time_limit + self.grace).total_seconds() + HARD_LIMIT_MARGIN_SECONDS
        return min(seconds, MAX_HARD_LIMIT_SECONDS)

    def exceeded(self, **facts: Any) -> Why:
        """The reason of a run that has exceeded its time limit."""
        set_by = OF_SCHEDULE if self.is_of_schedule else None
        return Why.of(Reason.TIME_LIMIT, limit_seconds=self.time_limit, set_by=set_by, **facts)


def of_run(run: Run) -> Limits:
    """The limits of a run, as of its schedule, or else of its job."""
    declared = registry.declaration_of(run.job)
    own, grace = run.time_limit, run.time_limit_grace
    return Limits(
        time_limit=_bounded(declared.time_limit if own is None else own),
        grace=_bounded(declared.time_limit_grace if grace is None else grace),
        # An invalid value, which a system check reports, must not leave the run without an end.
        memory_bytes=size_from_text(str(declared.memory_limit)),
        is_of_schedule=own is not None,
    )


def of_job(declared: type[JobDeclaration]) -> Limits:
    """The time limit of a job's runs that have none of their own."""
    return Limits(time_limit=_bounded(declared.time_limit), grace=_bounded(declared.time_limit_grace))


@overload
def _bounded(length: timedelta) -> timedelta: ...


@overload
def _bounded(length: None) -> None: ...


def _bounded(length: timedelta | None) -> timedelta | None:
    """A job may declare ``timedelta.max``, to which nothing can be added; a stored limit may be negative."""
    return None if length is None else min(max(length, timedelta(0)), MAX_DURATION)


class OwnLimits(TypedDict):
    """The columns of a run that keep the limits of its schedule."""

    time_limit: timedelta | None
    time_limit_grace: timedelta | None


def of_policy(policy: SchedulePolicy) -> OwnLimits:
    """What the runs of a schedule with this policy keep of it."""
    return {"time_limit": policy.time_limit, "time_limit_grace": policy.time_limit_grace}


def apply_to(run: Run) -> bool:
    """Whether this service ends the run at its time limit: not what cron or Celery alone runs, or nobody."""
    is_executed = run.started_at is not None or not Status(run.status).is_final
    return is_executed and run.trigger != Trigger.CRON and run.job in registry.all_jobs()


def described(run: Run) -> str:
    """``10 min, then 30 s to clean up (set by its schedule)``; empty if limits do not apply.

    Without a limit, ``none`` if the run was made by a schedule, which could have set one, or else empty.
    """
    if not apply_to(run):
        return ""
    limits = of_run(run)
    if limits.time_limit is None:
        return "none" if run.schedule_name else ""
    # What the job declared when the run was executed is not recorded.
    as_it_is = ", as it is now" if Status(run.status).is_final else ""
    who = "its schedule" if limits.is_of_schedule else f"the job{as_it_is}"
    return f"{in_words(limits.time_limit, limits.grace)} (set by {who})"


def in_words(time_limit: timedelta, grace: timedelta) -> str:
    """``10 min, then 30 s to clean up``."""
    then = f"{duration(grace, parts=4)} to clean up" if grace else "it is killed at once"
    return f"{duration(time_limit, parts=4)}, then {then}"
