"""Formats the logs of workers and beat, for which Celery sets formatters of its own.

The names, arguments and errors of messages come from anyone who can write to the broker: control characters
are escaped, and secrets masked. If the project's ``LOGGING`` has the service's formatter, these logs are JSON
if that is, and otherwise name runs, too.
"""

import logging
from typing import Any

from celery.app.log import TaskFormatter
from celery.signals import after_setup_logger, after_setup_task_logger
from celery.utils.log import ColorFormatter

from jobledger.escapes import LineFormatter
from jobledger.jobs import registry
from jobledger.logs import formatters
from jobledger.logs.formatters import TextFormatter
from jobledger.logs.masking import masked
from jobledger.logs.running import is_of_last_run, run_of


class _WorkerLine(LineFormatter):
    """One line for each message."""

    names_run = False

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record), run_of(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = super().formatMessage(record)
        return f"{line}{formatters.suffix(run_of(record))}" if self.names_run else line


class WorkerFormatter(_WorkerLine, ColorFormatter):
    """Celery's formatter."""


class TaskLineFormatter(_WorkerLine, TaskFormatter):
    """Celery's formatter for the loggers of tasks."""


class _WithoutEnds(logging.Filter):
    """Drops Celery's line about the end of a job's task: the service's own says more."""

    def filter(self, record: logging.LogRecord) -> bool:
        # Imported here, because a command, which has no worker, does not need it.
        from celery.app.trace import LOG_FAILURE, LOG_SUCCESS
        from celery.app.trace import log_policy_ignore as ignored

        if record.levelno != logging.INFO:
            return True
        data: Any = vars(record).get("data") or {}
        # Of an attempt that is followed by another one, or of a message that starts nothing.
        if record.msg == ignored.format and data.get("description") == ignored.description:
            return registry.of_task(str(data.get("name"))) is None
        return not (record.msg in (LOG_SUCCESS, LOG_FAILURE) and is_of_last_run(record))


class _WithoutArrivals(logging.Filter):
    """Drops Celery's line about the arrival of a job's message, unless DEBUG is on."""

    def filter(self, record: logging.LogRecord) -> bool:
        from celery.app.trace import LOG_RECEIVED

        if record.levelno != logging.INFO or record.msg != LOG_RECEIVED:
            return True
        is_debugging = logging.getLogger(record.name).isEnabledFor(logging.DEBUG)
        return is_debugging or registry.of_task(str(vars(record).get("data", {}).get("name"))) is None


_without_ends = _WithoutEnds()
_without_arrivals = _WithoutArrivals()
_REPLACEMENTS: dict[type, type[WorkerFormatter | TaskLineFormatter]] = {
    ColorFormatter: WorkerFormatter,
    TaskFormatter: TaskLineFormatter,
}


def connect() -> None:
    """Replace Celery's formatters whenever it sets up its logging, and drop its lines that ours replace."""
    logging.getLogger("celery.app.trace").addFilter(_without_ends)
    logging.getLogger("celery.worker.strategy").addFilter(_without_arrivals)
    for signal in (after_setup_logger, after_setup_task_logger):
        signal.connect(replace_formatters, dispatch_uid=__name__)


def replace_formatters(logger: logging.Logger, format: str, **_: Any) -> None:  # noqa: A002 - Celery's name
    """Replace Celery's own formatters; those of a project stay."""
    for handler in logger.handlers:
        if isinstance(handler.formatter, ColorFormatter) and type(handler.formatter) in _REPLACEMENTS:
            handler.setFormatter(_replacement(handler.formatter, format))


def _replacement(before: ColorFormatter, text: str) -> logging.Formatter:
    of_project = formatters.of_project()
    if of_project is not None and not isinstance(of_project, TextFormatter):
        vars(of_project)["is_of_worker"] = True
        return of_project
    use_color = before.use_color and not formatters.no_color()
    formatter = _REPLACEMENTS[type(before)](text, use_color=use_color)
    formatter.datefmt, formatter.names_run = before.datefmt, of_project is not None
    return formatter
