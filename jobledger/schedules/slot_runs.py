"""Slots as runs: what a planned slot becomes in the ledger. Reads the schedule, writes nothing.

A slot's run has an id made from the schedule and the slot. So whoever records a slot a second time,
for whatever reason, names the same run, and a message published twice wakes one run.
"""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.apps import apps
from django_celery_beat.models import PeriodicTask

from jobledger.jobs import json_text, registry
from jobledger.models import Run, Status, Trigger, Why
from jobledger.runs.dispatch import known_tasks
from jobledger.runs.publishing.publisher import GRACE_OF_THE_RECORDER
from jobledger.schedules.planning.planning import jitter_delay
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict

# Names a slot's run (RFC 9562, version 5).
SLOT_NAMESPACE = uuid.UUID("0d6c9df7-5d4a-4c3c-9a60-63c3a3f0c4a7")

STATUSES = {
    Verdict.RUN: Status.QUEUED,
    Verdict.MISSED: Status.MISSED,
    Verdict.SKIPPED: Status.SKIPPED,
}


class BrokenScheduleError(ValueError):
    """A schedule that cannot be carried out; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a schedule starts. Shared by all that start the same: not to be changed."""

    job: str
    """A job's name, or an ordinary task's."""
    args: list[Any]
    options: dict[str, Any]


def target_of(schedule: PeriodicTask) -> Target:
    """What the schedule starts. Raises BrokenScheduleError."""
    return _target(schedule.task, schedule.args, schedule.kwargs)


# A schedule says the same slot after slot, and many say the same.
@lru_cache(maxsize=1024)
def _target(task: str, args_text: str, kwargs_text: str) -> Target:
    options, args = _json("kwargs", kwargs_text, dict), _json("args", args_text, list)
    job = registry.of_task(task)
    if job is None:
        if is_gone(task):
            raise BrokenScheduleError(f"task: there is no job or task {task!r} any more")
        return Target(job=task, args=args, options=options)
    if args:
        raise BrokenScheduleError("args: a job takes its options by name; put them into kwargs")
    return Target(job=job.name, args=[], options=options)


def why_broken(schedule: PeriodicTask) -> str:
    """Why what the schedule starts cannot be carried out; empty where it can."""
    try:
        target_of(schedule)
    except BrokenScheduleError as error:
        return str(error)
    return ""


def run_of(schedule: PeriodicTask, target: Target, planned: PlannedSlot, *, now: datetime) -> Run:
    """The row for a slot, not saved."""
    status = STATUSES[planned.verdict]
    is_queued = status is Status.QUEUED
    return Run(
        id=run_id(schedule.pk, planned.scheduled_for),
        job=target.job,
        args=target.args,
        options=target.options,
        trigger=Trigger.SCHEDULE,
        schedule=schedule,
        schedule_name=schedule.name,
        scheduled_for=planned.scheduled_for,
        status=status,
        queued_at=now,
        publish_after=now + GRACE_OF_THE_RECORDER if is_queued else None,
        start_before=_start_before(schedule, planned, now) if is_queued else None,
        coalesced=planned.coalesced,
        **_why(schedule, planned).columns,
    )


def _why(schedule: PeriodicTask, planned: PlannedSlot) -> Why:
    """The plan's reason; it knows no runs, and so not the id of the one that stands for this slot."""
    if planned.coalesced_into is None:
        return planned.why
    return planned.why.plus(run=run_id(schedule.pk, planned.coalesced_into))


def run_id(schedule_id: int, slot: datetime) -> uuid.UUID:
    """The id of a slot's run: the same whoever asks."""
    return uuid.uuid5(SLOT_NAMESPACE, f"{schedule_id}:{slot.isoformat()}")


def _start_before(schedule: PeriodicTask, planned: PlannedSlot, now: datetime) -> datetime | None:
    """The earliest of the policy's deadline and django-celery-beat's two ways for a message to expire."""
    ends, policy = [schedule.expires], schedule.policy
    if schedule.expire_seconds is not None:
        ends.append(now + timedelta(seconds=schedule.expire_seconds))
    if policy.starting_deadline is not None:
        starts_at = planned.scheduled_for + jitter_delay(policy.jitter, schedule.pk)
        ends.append(starts_at + policy.starting_deadline)
    return min((end for end in ends if end is not None), default=None)


def _json(field: str, text: str, kind: type) -> Any:
    text = text or json.dumps(kind())
    try:
        value = json_text.storable(json_text.parse(text))
    except ValueError as error:
        raise BrokenScheduleError(
            f"{field}: {text[:100]!r} is not JSON that can be stored: {error}"
        ) from error
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise BrokenScheduleError(f"{field}: {text[:100]!r} is not {wanted}")
    return value


def is_gone(task: str) -> bool:
    """Whether nobody defines a task under one of our own apps; another service's we cannot know."""
    return task not in known_tasks() and task.partition(".")[0] in _own_names()


def _own_names() -> set[str]:
    configs = list(apps.get_app_configs())
    return {config.label for config in configs} | {config.name.partition(".")[0] for config in configs}
