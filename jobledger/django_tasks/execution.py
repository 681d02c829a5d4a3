"""Calls the function of a run, in the process that executes it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jobledger.django_tasks.framework import TaskContext, signals
from jobledger.django_tasks.json_values import as_json
from jobledger.django_tasks.results import result_of
from jobledger.jobs.functions import FunctionCommand, TaskFunction, framework
from jobledger.models import Run, Status
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.outcome import UnstorableResultError


def call(command: FunctionCommand, run: Run) -> None:
    """Call the function with the run's options, and store what it returns.

    Raises OptionsError if the options do not fit its arguments, UnstorableResultError if its value is not
    JSON, and whatever the function raises.
    """
    function = command.function
    args, kwargs = function.arguments_of(run.options)
    with ledger_connection():
        result = result_of(run, function)
    _send("task_started", function, result)
    if function.task.takes_context:
        args = (TaskContext(task_result=result), *args)
    _store(run, _stored(function, command.handle(*args, **kwargs)))


def report_end(run: Run, function: TaskFunction) -> None:
    """Send Django's signal for the end of a run, if this was it."""
    if Status(run.status).is_final:
        with ledger_connection():
            result = result_of(run, function)
        _send("task_finished", function, result)


def _stored(function: TaskFunction, value: Any) -> Any:
    try:
        return as_json(value, f"The value that {function.path} returned")
    except (TypeError, ValueError) as error:
        raise UnstorableResultError(str(error)) from error


def _store(run: Run, value: Any) -> None:
    """An earlier attempt may have stored one, and have been lost afterwards."""
    if value is None and run.attempt == 1:
        return
    with ledger_connection():
        running = Run.objects.filter(pk=run.pk, attempt=run.attempt).in_state(Status.RUNNING)
        running.update(return_value=value)
    run.return_value = value


def _send(name: str, function: TaskFunction, result: Any) -> None:
    """A receiver that raises does not affect the run."""
    backend = function.task.get_backend()
    with _without_log_lines():
        getattr(signals(), name).send_robust(sender=type(backend), task_result=result)


@contextmanager
def _without_log_lines() -> Iterator[None]:
    """Keep the lines of the framework's own receivers, which log every signal, out of the run's output.

    The ledger and the worker's log say the same, and a job that writes nothing has no last line.
    """
    logger = logging.getLogger(framework().__name__)
    logger.addFilter(_no_line)
    try:
        yield
    finally:
        logger.removeFilter(_no_line)


def _no_line(record: logging.LogRecord) -> bool:
    return not record.funcName.startswith("log_task_")
