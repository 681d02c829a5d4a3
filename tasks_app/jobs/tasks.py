"""One Celery task per job, named ``<app label>.<command>``; its keyword arguments are the job's options.

A message without a run, such as that of ``celery call``, gets one on arrival. The task's result is a
small JSON object; a run that did not succeed fails the task with the run's own error. A message that
comes again while its run is taken, or over, changes nothing: not the run and not its result.
"""

import json
from collections.abc import Callable
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.defining import registry
from tasks_app.jobs.models import Status, Trigger
from tasks_app.jobs.running import dispatch, runner


class JobFailedError(Exception):
    """A run that did not succeed; the message is the run's error."""


def register_all() -> None:
    """Make a task of every job."""
    for job in registry.all_jobs().values():
        task = _task_function(job)
        # Expected: the run has the traceback, the worker's log needs no second one.
        shared_task(name=job.task_name, bind=True, throws=(JobFailedError,))(task)


def _task_function(job: registry.Job) -> Callable[..., dict[str, Any]]:
    def run_job(task: Task[..., Any], /, *args: Any, **options: Any) -> dict[str, Any]:
        return _run(task, job, args, options)

    run_job.__doc__ = job.help
    return run_job


def _run(
    task: Task[..., Any], job: registry.Job, args: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Any]:
    run = dispatch.receive(str(task.request.id), _request(task, job, options))
    ended = runner.execute(run.pk, worker=task.request.hostname or "", refusal=_refusal(args))
    if ended is None:
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
