"""Escapes control characters in the logs of workers and beat, for which Celery sets formatters of its own.

The names, arguments and errors of messages come from anyone who can write to the broker.
"""

import logging
from typing import Any

from celery.app.log import TaskFormatter
from celery.signals import after_setup_logger, after_setup_task_logger
from celery.utils.log import ColorFormatter

from jobledger.escapes import LineFormatter


class WorkerFormatter(LineFormatter, ColorFormatter):
    """Celery's formatter, with one line per message."""


class TaskLineFormatter(LineFormatter, TaskFormatter):
    """Celery's formatter for the loggers of tasks, with one line per message."""


_REPLACEMENTS: dict[type, type[ColorFormatter]] = {
    ColorFormatter: WorkerFormatter,
    TaskFormatter: TaskLineFormatter,
}


def connect() -> None:
    """Replace Celery's formatters whenever it sets up its logging."""
    for signal in (after_setup_logger, after_setup_task_logger):
        signal.connect(escape_lines, dispatch_uid=__name__)


def escape_lines(logger: logging.Logger, format: str, **_: Any) -> None:  # noqa: A002 - Celery's name
    """Replace Celery's own formatters; those of a project stay."""
    for handler in logger.handlers:
        before = handler.formatter
        if isinstance(before, ColorFormatter) and type(before) in _REPLACEMENTS:
            formatter = _REPLACEMENTS[type(before)](format, use_color=before.use_color)
            formatter.datefmt = before.datefmt
            handler.setFormatter(formatter)
