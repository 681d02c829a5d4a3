"""Slots as runs: builds the ``Run`` for a planned slot. Reads the schedule, writes nothing.

The id of a slot's run is derived from the schedule and the slot. So recording a slot twice, for whatever
reason, gives the same run, and a message published twice starts a single run.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobledger.formats import MAX_DURATION
from jobledger.jobs import json_text, registry, secrets
from jobledger.jobs.declaration import Concurrency, Misfire
from jobledger.jobs.options import OptionsError, check_bounds
from jobledger.models import Run, SchedulePolicy, Status, Trigger, Why
from jobledger.runs import limits, ordinary_tasks, overlap
from jobledger.runs.publishing import delivery, job_routes
from jobledger.runs.publishing.intervals import GRACE_PERIOD
from jobledger.schedules.planning.backlog import start_before
from jobledger.schedules.planning.planning import jitter_delay
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict

# The namespace of the ids of slots' runs (RFC 9562, version 5).
SLOT_NAMESPACE = uuid.UUID("0d6c9df7-5d4a-4c3c-9a60-63c3a3f0c4a7")

MAX_EXPIRY = int(MAX_DURATION.total_seconds())
"""In seconds; django-celery-beat's field has no limit."""
STATUSES = {
    Verdict.RUN: Status.QUEUED,
    Verdict.MISSED: Status.MISSED,
    Verdict.EXPIRED: Status.EXPIRED,
    Verdict.SKIPPED: Status.SKIPPED,
}


class BrokenScheduleError(ValueError):
    """A schedule with an invalid target, or whose messages cannot be delivered; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a schedule starts. Cached and shared between schedules: do not modify."""

    job: str
    """The name of a job, or of an ordinary task."""
    args: list[Any]
    options: dict[str, Any]


def target_of(schedule: PeriodicTask) -> Target:
    """What the schedule starts. Raises BrokenScheduleError."""
    if problem := ordinary_tasks.why_not_schedulable(schedule.task):
        raise BrokenScheduleError(f"task: {problem}")
    if problem := delivery.why_unroutable(schedule):
        raise BrokenScheduleError(problem)
    _check_expiry(schedule.expire_seconds)
    return _target(schedule.task, schedule.args, schedule.kwargs)


def _check_expiry(seconds: Any) -> None:
    if seconds is not None and not (isinstance(seconds, int) and 0 <= seconds <= MAX_EXPIRY):
        raise BrokenScheduleError(f"expire_seconds: {seconds!r} is not a number from 0 to {MAX_EXPIRY}")


# Called for every slot, and many schedules have the same target.
@lru_cache(maxsize=1024)
def _target(task: str, args_text: str, kwargs_text: str) -> Target:
    job = registry.of_task(task)
    name = job.name if job else task
    options, args = _json(name, "kwargs", kwargs_text, dict), _json(name, "args", args_text, list)
    if job is None:
        return Target(job=task, args=args, options=options)
    if args:
        raise BrokenScheduleError("args: a job takes keyword arguments only; use kwargs")
    return Target(job=job.name, args=[], options=options)


def run_of(schedule: PeriodicTask, target: Target, planned: PlannedSlot, *, now: datetime) -> Run:
    """The run for a slot, not saved."""
    status = STATUSES[planned.verdict]
    is_queued = status is Status.QUEUED
    return Run(
        id=run_id(schedule.pk, planned.scheduled_for),
        job=target.job,
        args=target.args,
        options=target.options,
        trigger=Trigger.CHAIN if schedule.policy.after else Trigger.SCHEDULE,
        schedule=schedule,
        schedule_name=schedule.name,
        scheduled_for=planned.scheduled_for,
        moved_to=planned.moved_to,
        routing=job_routes.completed(target.job, delivery.routing_of(schedule)),
        status=status,
        queued_at=now,
        publish_after=now + GRACE_PERIOD if is_queued else None,
        start_before=_start_before(schedule, planned, now) if is_queued else None,
        coalesced=planned.coalesced,
        **limits.of_policy(schedule.policy),
        **why_of(schedule.pk, planned).columns,
    )


def skip(run: Run, why: Why) -> None:
    """Turn the run of a slot, not saved yet, into the record that the slot was not executed."""
    run.status, run.publish_after, run.start_before = Status.SKIPPED, None, None
    run.reason, run.reason_details = why.columns["reason"], why.columns["reason_details"]


def give_new_time(run: Run) -> None:
    """Let a run that was moved, not saved yet, stand for the time to which it was moved."""
    if run.moved_to is not None and run.schedule_id is not None:
        run.pk, run.scheduled_for = run_id(run.schedule_id, run.moved_to), run.moved_to
        run.moved_to = None


def why_of(schedule_id: int, planned: PlannedSlot) -> Why:
    """The plan's reason, with the id of the run that replaces this slot, which the plan does not know."""
    if planned.coalesced_into is None:
        return planned.why
    return planned.why.plus(run=run_id(schedule_id, planned.coalesced_into))


def run_id(schedule_id: int, slot: datetime) -> uuid.UUID:
    """The id of a slot's run; always the same for the same slot."""
    return uuid.uuid5(SLOT_NAMESPACE, f"{schedule_id}:{slot.isoformat()}")


def _start_before(schedule: PeriodicTask, planned: PlannedSlot, now: datetime) -> datetime | None:
    policy = schedule.policy
    starts_at = planned.due + jitter_delay(policy.jitter, schedule.pk)
    return start_before(
        # What starts after others is not late because these have taken long.
        starts_at=now if policy.after else starts_at,
        recorded_at=now,
        misfire=Misfire(policy.misfire),
        starting_deadline=policy.starting_deadline,
        expires=schedule.expires,
        expire_after=expire_after(schedule),
    )


def expire_after(schedule: PeriodicTask) -> timedelta | None:
    """How long a run of the schedule may be queued: django-celery-beat's own field."""
    return None if schedule.expire_seconds is None else timedelta(seconds=schedule.expire_seconds)


def live_limits(schedule: PeriodicTask, job: str) -> tuple[int, int]:
    """How many of the schedule's runs, and of the job's, may be queued or running if they may overlap."""
    policy, declared = SchedulePolicy.of(schedule), registry.declaration_of(job)
    own = policy.max_live_per_schedule or declared.max_live_per_schedule
    return own, policy.max_live or declared.max_live


def may_overlap(schedule: PeriodicTask, job: str) -> bool:
    """Whether runs of the schedule may overlap, as far as that is known: not for ordinary tasks."""
    known = registry.all_jobs().get(job)
    if known is None:
        return False
    chosen = SchedulePolicy.of(schedule).concurrency
    return overlap.concurrency_of(chosen, known.declaration) is Concurrency.ALLOW


def _json(job: str, field: str, text: str, kind: type) -> Any:
    text = text or json.dumps(kind())
    shown = secrets.masked_text(job, text)[:100]
    try:
        value = json_text.storable(json_text.parse(text))
    except ValueError as error:
        raise BrokenScheduleError(f"{field}: {shown!r} is not valid JSON: {error}") from error
    if not isinstance(value, kind):
        expected = "an object" if kind is dict else "a list"
        raise BrokenScheduleError(f"{field}: {shown!r} is not {expected}")
    try:
        check_bounds(value, field)
    except OptionsError as error:
        raise BrokenScheduleError(str(error)) from error
    return value
