"""Runs as the results of tasks."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from inspect import Parameter
from typing import Any

from jobledger.django_tasks.framework import (
    AnyResult,
    AnyTask,
    InvalidTask,
    TaskError,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
)
from jobledger.jobs import registry
from jobledger.jobs.functions import TaskFunction
from jobledger.models import Reason, Run, RunAttempt, Status
from jobledger.runs import reasons
from jobledger.runs.django_internals import set_return_value
from jobledger.runs.results import JobFailedError

STATUSES: Mapping[Status, TaskResultStatus] = {
    Status.QUEUED: TaskResultStatus.READY,
    Status.RUNNING: TaskResultStatus.RUNNING,
    Status.SUCCEEDED: TaskResultStatus.SUCCESSFUL,
}
"""In any other one, the run has ended without success."""


def result_with_id(result_id: str) -> AnyResult:
    """Raises TaskResultDoesNotExist."""
    try:
        run = Run.objects.filter(pk=uuid.UUID(result_id)).first()
    except (ValueError, AttributeError, TypeError):
        run = None
    if run is None:
        raise TaskResultDoesNotExist(result_id)
    job = registry.all_jobs().get(run.job)
    if job is None or job.function is None:
        raise TaskResultDoesNotExist(f"{result_id}: {run.job!r} is not a function, or no longer exists")
    return result_of(run, job.function)


def result_of(run: Run, function: TaskFunction) -> AnyResult:
    """The result of a run of the function, as far as it has come."""
    earlier = list(run.attempts.order_by("attempt")) if run.attempt > 1 else []
    attempts: list[Run | RunAttempt] = [*earlier, run]
    status = STATUSES.get(Status(run.status), TaskResultStatus.FAILED)
    args, kwargs = _arguments(run, function)
    started = [each.started_at for each in attempts if each.started_at is not None]
    result: AnyResult = TaskResult(
        task=_task(run, function),
        id=str(run.pk),
        status=status,
        enqueued_at=run.queued_at,
        started_at=started[0] if started else None,
        last_attempted_at=started[-1] if started else None,
        finished_at=run.finished_at,
        args=args,
        kwargs=kwargs,
        backend=_backend(run, function),
        errors=_errors(run, earlier),
        worker_ids=[each.worker for each in attempts if each.worker],
    )
    if status == TaskResultStatus.SUCCESSFUL:
        set_return_value(result, run.return_value)
    return result


def _backend(run: Run, function: TaskFunction) -> str:
    return str(run.enqueued_as.get("backend", function.task.backend))


def _task(run: Run, function: TaskFunction) -> AnyTask:
    """The task as it was enqueued, unless it may not be enqueued like that any more."""
    task: AnyTask = function.task
    known = {name: run.enqueued_as.get(name) for name in ("priority", "queue_name", "backend")}
    run_after = run.enqueued_as.get("run_after")
    try:
        return task.using(**known, run_after=datetime.fromisoformat(run_after) if run_after else None)
    except (InvalidTask, LookupError, ValueError):
        return task


def _arguments(run: Run, function: TaskFunction) -> tuple[list[Any], dict[str, Any]]:
    """As they were given to ``enqueue``, even if the function has other arguments by now."""
    args, kwargs = list[Any](), dict[str, Any]()
    by_position = run.enqueued_as.get("by_position", ())
    # PostgreSQL does not keep the order of an object's keys.
    first = {name: run.options[name] for name in by_position if name in run.options}
    for name, value in {**first, **run.options}.items():
        match function.kind_of(name), value:
            case Parameter.VAR_POSITIONAL, list():
                args += value
            case Parameter.VAR_KEYWORD, dict():
                kwargs.update(value)
            case _ if name in by_position:
                args.append(value)
            case _:
                kwargs[name] = value
    return args, kwargs


def _errors(run: Run, earlier: Sequence[RunAttempt]) -> list[TaskError]:
    has_failed = Status(run.status).is_final and run.status != Status.SUCCEEDED
    failed: list[Run | RunAttempt] = [*earlier, run] if has_failed else [*earlier]
    return [_error(each) for each in failed]


def _error(row: Run | RunAttempt) -> TaskError:
    path = f"{JobFailedError.__module__}.{JobFailedError.__qualname__}"
    if row.reason == Reason.EXCEPTION:
        details = row.reason_details
        path = f"{details.get('module', 'builtins')}.{details.get('type', 'Exception')}"
    text = reasons.without_secrets(row, row.traceback) or reasons.explanation(row)
    return TaskError(exception_class_path=path, traceback=text)
