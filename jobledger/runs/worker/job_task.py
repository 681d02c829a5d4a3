"""What a worker's child does with a job's message: it executes the run, or a new one if there is none yet.

A message that arrives while the database is unavailable is requeued until the database is back, because a
``celery call`` is not recorded anywhere else.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from celery import Task, states
from celery.exceptions import Ignore, Reject
from django.db import Error
from django.urls import get_resolver

from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.jobs.registry import Job
from jobledger.outages import is_outage
from jobledger.runs import dispatch, run_lines
from jobledger.runs.execution import isolation, runner
from jobledger.runs.identity import worker_process
from jobledger.runs.processes import billiard_internals, forks
from jobledger.runs.received import bounds_error, has_run, request_of
from jobledger.runs.results import result_of

logger = line_logger(__name__)

DATABASE_RETRY_SECONDS = 3.0


def load_urls(conf: Any, options: Mapping[str, Any]) -> None:
    """Import, before children are forked, what each of them would import anew for a job that makes a link.

    If children live long, each does so once, and only if a job needs it.
    """
    limit = options.get("max_tasks_per_child") or conf.worker_max_tasks_per_child
    if not limit and not any(job.declaration.isolate for job in registry.all_jobs().values()):
        return
    try:
        get_resolver().reverse_dict  # noqa: B018 - it imports the URLs, with all that they include
    except Exception as error:  # noqa: BLE001 - a project's URLs may raise anything, and jobs may need none
        logger.warning("The project's URLs could not be loaded: %s: %s", type(error).__name__, error)


def execute(task: Task[..., Any], job: Job, args: tuple[Any, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Returns the result. Raises JobFailedError if the run does not succeed."""
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
def _requeue_without_database(job: Job) -> Iterator[None]:
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
