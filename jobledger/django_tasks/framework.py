"""What the backend needs of Django's tasks, from Django itself or from the backport, whose names differ."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from jobledger.jobs.functions import framework

if TYPE_CHECKING:
    from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import TaskError
    from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist

    # Not generic at run time, or not in the same way.
    AnyTask: TypeAlias = Task[Any, Any]
    AnyResult: TypeAlias = TaskResult[Any, Any]
else:
    AnyTask = AnyResult = Any
    _package = framework()
    _base, _exceptions = (import_module(f"{_package.__name__}.{name}") for name in ("base", "exceptions"))
    BaseTaskBackend = import_module(f"{_package.__name__}.backends.base").BaseTaskBackend
    Task, TaskContext, TaskResult = _base.Task, _base.TaskContext, _base.TaskResult
    TaskError, TaskResultStatus = _base.TaskError, _base.TaskResultStatus
    InvalidTask = getattr(_exceptions, "InvalidTask", None) or _exceptions.InvalidTaskError
    TaskResultDoesNotExist = _exceptions.TaskResultDoesNotExist

DEFAULT_QUEUE = "default"

__all__ = [
    "DEFAULT_QUEUE",
    "AnyResult",
    "AnyTask",
    "BaseTaskBackend",
    "InvalidTask",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "signals",
]


def signals() -> Any:
    """The module with ``task_enqueued``, ``task_started`` and ``task_finished``."""
    return import_module(f"{framework().__name__}.signals")
