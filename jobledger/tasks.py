"""One Celery task per job, named ``<app label>.<command>``; its keyword arguments are the job's options.

A message without a run, such as one from ``celery call``, gets a run when it arrives. The task's result is a
small JSON object; if the run does not succeed, the task fails with the reason. A message that is delivered
again while its run is running or finished affects neither the run nor its result.

A message that arrives while the database is unavailable is requeued until the database is back, because a
``celery call`` is not recorded anywhere else.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery import Task, shared_task, states
from celery.exceptions import Ignore, Reject
from django.db import Error

from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.outages import is_outage
from jobledger.runs import dispatch, limits, run_lines
from jobledger.runs.dispatch import worker_process
from jobledger.runs.execution import forks, isolation, runner
from jobledger.runs.received import bounds_error, has_run, request_of
from jobledger.runs.results import JobFailedError, result_of
from jobledger.runs.worker import billiard_internals

logger = line_logger(__name__)

DATABASE_RETRY_SECONDS = 3.0
# A string, so that only workers import it.
REQUEST = "jobledger.runs.worker.main_process:JobRequest"


def register_all() -> None:
    """Register a task for every job."""
    for job in registry.all_jobs().values():
        task = _task_function(job)
        shared_task(**_task_options(job))(task)


def _task_options(job: registry.Job) -> dict[str, Any]:
    return {
        "name": job.task_name,
        "bind": True,
        "Request": REQUEST,
        # A message is redelivered if its worker dies; claiming the run makes duplicates harmless. Rejecting
        # the messages of lost workers could loop forever.
        "acks_late": True,
        "reject_on_worker_lost": False,
        # Celery would store that of each message, even of one delivered again: over the result of its run.
        "track_started": False,
        # As an expected exception it is logged without traceback, which is recorded with the run anyway.
        "throws": (JobFailedError,),
        "time_limit": limits.of_job(job.declaration).hard_limit_seconds,
    }


def _task_function(job: registry.Job) -> Callable[..., dict[str, Any]]:
    def run_job(task: Task[..., Any], /, *args: Any, **options: Any) -> dict[str, Any]:
        return _run(task, job, args, options)

    run_job.__doc__ = job.help
    return run_job


def _run(
    task: Task[..., Any], job: registry.Job, args: tuple[Any, ...], options: dict[str, Any]
) -> dict[str, Any]:
    worker = worker_process(task.request.hostname, os.getpid())
    run_id = dispatch.run_id_of(str(task.request.id))
    with _replace_if_broken(), _requeue_without_database(job):
        if not has_run(task.request):
            dispatch.receive(str(task.request.id), partial(request_of, task.request, job, options))
        error = _argument_error(args, options)
        ended = runner.execute(
            run_id, worker=worker, validation_error=error, job=job, on_start=_report_started(task)
        )
    if ended is None:
        run_lines.not_started(job.name, run_id)
    elif job.function is not None:
        from jobledger.django_tasks import execution

        execution.report_end(ended.run, job.function)
    return result_of(ended.run, ended.last_line) if ended else result_of(None, "")


@contextmanager
def _replace_if_broken() -> Iterator[None]:
    """Have this child replaced if recording fails without an outage: a job may have broken the process."""
    try:
        yield
    except (Ignore, Reject):
        raise
    except Exception:
        billiard_internals.exit_after_this_task()
        raise


@contextmanager
def _requeue_without_database(job: registry.Job) -> Iterator[None]:
    """Safe even if the run was already claimed: its message is then dropped as a duplicate."""
    try:
        yield
    except Error as error:
        if not is_outage(error):
            raise
        logger.warning("Requeueing a message for %s until the database is back: %s", job.task_name, error)
        forks.close_connections()
        # It is redelivered immediately.
        time.sleep(DATABASE_RETRY_SECONDS)
        raise Reject(str(error), requeue=True) from error


def _report_started(task: Task[..., Any]) -> Callable[[], None]:
    """Has the result's state be STARTED, where the project wants it (``task_track_started``)."""
    backend, request = task.backend, task.request
    process = {"pid": os.getpid(), "hostname": request.hostname}

    def report() -> None:
        try:
            backend.store_result(str(request.id), process, states.STARTED, request=request)
        except Exception as error:  # noqa: BLE001 - a result backend may raise anything
            logger.warning("Could not store that run %s has started: %s", request.id, error)

    if task.ignore_result or request.ignore_result or request.is_eager:
        return isolation.nothing
    return report if task.app.conf.task_track_started else isolation.nothing


def _argument_error(args: tuple[Any, ...], options: dict[str, Any]) -> str:
    """Why the arguments are invalid; empty if they are valid."""
    if args:
        # Their values are not quoted: without a name, there is no way to know whether one is secret.
        return (
            f"A job takes keyword arguments only, but got {len(args)} positional. "
            "Pass the command's positional arguments by name, too."
        )
    if error := bounds_error(options):
        return error
    try:
        json.dumps(options, allow_nan=False)
    except ValueError:
        return "NaN and infinity are not valid JSON. Use a number, or null."
    return ""


register_all()
