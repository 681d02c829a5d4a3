"""Runs that are over and are started again by hand: the same work, as a new run of its own.

The new run stands for the old one's slot, so that a daily job works on the same day again. It does not
belong to the schedule, where that slot has its run already; it only keeps the schedule's name.
"""

from typing import Any

from tasks_app.jobs.defining import registry
from tasks_app.jobs.models import Run, Status, Trigger
from tasks_app.jobs.running import dispatch
from tasks_app.jobs.running.known_tasks import known_tasks


class NotStartedAgainError(Exception):
    """This run cannot be started again; the message says why."""


def start_again(run: Run, *, trigger: Trigger, who: str, user_id: Any = None) -> Run:
    """A new, queued run that does the same. Raises NotStartedAgainError."""
    if not Status(run.status).is_final:
        raise NotStartedAgainError(f"Run {run.pk} is not over: {run.get_status_display()}.")
    if not _exists(run.job):
        raise NotStartedAgainError(f"There is no job or task {run.job!r} any more.")
    return dispatch.enqueue(
        dispatch.RunRequest(
            job=run.job,
            options=run.options,
            args=run.args,
            trigger=trigger,
            who=who,
            user_id=user_id,
            schedule_name=run.schedule_name,
            scheduled_for=run.scheduled_for,
        )
    )


def _exists(name: str) -> bool:
    """Whether it is a job or, as a schedule may start one as well, an ordinary Celery task."""
    return name in registry.all_jobs() or name in known_tasks()
