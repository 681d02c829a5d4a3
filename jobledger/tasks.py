"""One Celery task per job, named ``<app label>.<command>``; its keyword arguments are the job's options.

A message without a run, such as that of ``celery call``, gets one on arrival. The task's result is a small
JSON object; a run that does not succeed fails the task, and says why. A message that is delivered again while
its run is taken, or over, changes neither the run nor its result.

A message that arrives while the database is away is requeued until the database answers: a ``celery call`` is
recorded nowhere else.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject
from django.db import Error
from django_celery_beat.models import PeriodicTask

from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.jobs.json_text import readable
from jobledger.jobs.options import OptionsError, check_bounds
from jobledger.models import Status, Trigger
from jobledger.outages import is_outage
from jobledger.runs import dispatch, reasons
from jobledger.runs.dispatch import worker_process
from jobledger.runs.execution import forks, runner
from jobledger.runs.publishing.delivery import RUN_HEADER, SCHEDULE_HEADER

logger = line_logger(__name__)

DATABASE_REST_SECONDS = 3.0
# Later than the run's own kill, which can record more.
HARD_LIMIT_MARGIN_SECONDS = 10
# Celery imports it in workers only.
REQUEST = "jobledger.runs.worker.main_process:JobRequest"


class JobFailedError(Exception):
    """A run that did not succeed; the message says why."""


def register_all() -> None:
    """Make a task of every job."""
    for job in registry.all_jobs().values():
        task = _task_function(job)
        shared_task(**_task_options(job))(task)


def _task_options(job: registry.Job) -> dict[str, Any]:
    options: dict[str, Any] = {"name": job.task_name, "bind": True, "Request": REQUEST}
    # An expected exception: the traceback is on the run, and needs no copy in the worker's log.
    return {**options, "throws": (JobFailedError,), "time_limit": _hard_limit(job)}


def _hard_limit(job: registry.Job) -> float | None:
    """When the worker kills the process of a job that blocks it so that nothing inside can end it."""
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
    worker = worker_process(task.request.hostname, os.getpid())
    with _back_to_the_queue_without_database(job):
        run = dispatch.receive(str(task.request.id), partial(_request, task, job, options))
        ended = runner.execute(run.pk, worker=worker, refusal=_refusal(args, options))
    if ended is None or not Status(ended.run.status).is_final:
        # Taken, over, waiting, or to be retried: the result comes from elsewhere.
        raise Ignore
    if ended.run.status != Status.SUCCEEDED:
        raise JobFailedError(reasons.explanation(ended.run))
    return {"run": str(run.pk), "status": ended.run.status, "last_line": ended.last_line}


@contextmanager
def _back_to_the_queue_without_database(job: registry.Job) -> Iterator[None]:
    """Harmless even if the run was claimed: its message is then dropped as a duplicate."""
    try:
        yield
    except Error as error:
        if not is_outage(error):
            raise
        logger.warning("A message of %s waits for the database: %s", job.task_name, error)
        forks.close_connections()
        # It is delivered again at once.
        time.sleep(DATABASE_REST_SECONDS)
        raise Reject(str(error), requeue=True) from error


def _request(task: Task[..., Any], job: registry.Job, options: dict[str, Any]) -> dispatch.RunRequest:
    """What a message that came without a run asks for: a scheduler's send, or an ad-hoc call.

    Raises Ignore for the message of a run that was deleted: it asks for nothing any more.
    """
    headers = task.request.headers if isinstance(task.request.headers, dict) else {}
    if RUN_HEADER in headers:
        raise Ignore
    if _refusal_of_bounds(options):
        # The run says so, and does not keep them.
        options = {}
    name = _schedule_name(headers)
    if not name:
        return dispatch.RunRequest(job=job.name, options=options, trigger=Trigger.CELERY)
    return dispatch.RunRequest(
        job=job.name,
        options=options,
        trigger=Trigger.SCHEDULE,
        schedule_id=PeriodicTask.objects.filter(name=name).values_list("pk", flat=True).first(),
        schedule_name=name,
    )


def _schedule_name(headers: Mapping[str, Any]) -> str:
    """As the scheduler that sent the message names it; anybody may have written it there."""
    name = headers.get(SCHEDULE_HEADER)
    return readable(name if isinstance(name, str) else str(name or ""))


def _refusal(args: tuple[Any, ...], options: dict[str, Any]) -> str:
    if not args:
        return _refusal_of_bounds(options) or _refusal_of_numbers(options)
    # Without quoting them: whether a value without a name is secret cannot be known.
    count = "one was" if len(args) == 1 else f"{len(args)} were"
    return (
        f"A job takes its options by name, not by position, and {count} given by position. "
        "Give them as keyword arguments, positionals of the command by their name."
    )


def _refusal_of_bounds(options: dict[str, Any]) -> str:
    try:
        check_bounds(options)
    except OptionsError as error:
        return str(error)
    return ""


def _refusal_of_numbers(options: dict[str, Any]) -> str:
    try:
        json.dumps(options, allow_nan=False)
    except ValueError:
        return "NaN and infinity are no numbers in JSON. Give a number, or null."
    return ""


register_all()
