"""One Celery task per job, named ``<app label>.<command>``; its keyword arguments are the job's options.

A message without a run, such as that of ``celery call``, gets one on arrival. The task's result is a
small JSON object; a run that did not succeed fails the task with the run's own error. A message that
comes again while its run is taken, or over, changes nothing: not the run and not its result.
"""

import json
import os
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.defining import registry
from tasks_app.jobs.models import Status, Trigger
from tasks_app.jobs.running import dispatch, runner
from tasks_app.jobs.running.process import worker_process

# Later than the heartbeat's own hard limit, which can say more about it.
HARD_LIMIT_MARGIN_SECONDS = 10
# Celery imports it in workers only.
REQUEST = "tasks_app.jobs.running.lost_child:JobRequest"


class JobFailedError(Exception):
    """A run that did not succeed; the message is the run's error."""


def register_all() -> None:
    """Make a task of every job."""
    for job in registry.all_jobs().values():
        task = _task_function(job)
        shared_task(**_task_options(job))(task)


def _task_options(job: registry.Job) -> dict[str, Any]:
    options: dict[str, Any] = {"name": job.task_name, "bind": True, "Request": REQUEST}
    # Expected: the run has the traceback, the worker's log needs no second one.
    return {**options, "throws": (JobFailedError,), "time_limit": _hard_limit(job)}


def _hard_limit(job: registry.Job) -> float | None:
    """When the worker kills the process of a job that holds it so fast that nothing inside can end it."""
    limit = job.declaration.time_limit
    if limit is None:
        return None
    return (limit + job.declaration.time_limit_grace).total_seconds() + HARD_LIMIT_MARGIN_SECONDS


def _task_function(job: registry.Job) -> Callable[..., dict[str, Any]]:
    def run_job(task: Task[..., Any], /, *args: Any, **options: Any) -> dict[str, Any]:
        return _run(task, job, args, options)

    run_job.__doc__ = job.help
    return run_job


def _run(
    task: Task[..., Any], job: registry.Job, args: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Any]:
    run = dispatch.receive(str(task.request.id), _request(task, job, options))
    worker = worker_process(task.request.hostname, os.getpid())
    ended = runner.execute(run.pk, worker=worker, refusal=_refusal(args))
    if ended is None or not Status(ended.run.status).is_final:
        # Taken, over, waiting, or to be tried again: somebody else brings the result.
        raise Ignore
    if ended.run.status != Status.SUCCEEDED:
        raise JobFailedError(ended.run.error)
    return {"run": str(run.pk), "status": ended.run.status, "last_line": ended.last_line}


def _request(task: Task[..., Any], job: registry.Job, options: dict[str, Any]) -> dispatch.RunRequest:
    """What a message that came without a run asks for: a scheduler's send, or an ad-hoc call."""
    name = (task.request.headers or {}).get("periodic_task_name", "")
    if not name:
        return dispatch.RunRequest(job=job.name, options=options, trigger=Trigger.CELERY)
    return dispatch.RunRequest(
        job=job.name,
        options=options,
        trigger=Trigger.SCHEDULE,
        schedule_id=PeriodicTask.objects.filter(name=name).values_list("pk", flat=True).first(),
        schedule_name=name,
    )


def _refusal(args: tuple[Any, ...]) -> str:
    if not args:
        return ""
    return (
        f"A job takes its options by name, not by position: {json.dumps(args)}. "
        "Give them as keyword arguments, positionals of the command by their name."
    )


register_all()
