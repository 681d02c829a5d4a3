"""The formatters, JSON and text, and which of them a process uses."""

import logging
import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from jobledger.escapes import LineFormatter
from jobledger.logs.masking import masked
from jobledger.logs.running import LoggedRun, run_of
from jobledger.logs.service import COMMAND
from jobledger.logs.service import service as service_name

AUTO, JSON, TEXT = "auto", "json", "text"
FORMATS = (AUTO, JSON, TEXT)
LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FACTORY = "jobledger.logs.formatter"
"""How a project's ``LOGGING`` names it."""
_LEVEL_COLORS = {"WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def formatter(format: str = AUTO, *, color: bool | None = None, service: str = "") -> logging.Formatter:  # noqa: A002 - as in LOGGING
    """A formatter of this format. ``auto``: JSON in a container, unless on a terminal, and text elsewhere.

    With ``color``, text has colours, unless ``NO_COLOR`` is set; by default on a terminal. ``service``
    overrides what JSON calls this process. Raises ImproperlyConfigured.
    """
    if format not in FORMATS:
        raise ImproperlyConfigured(f"The log format is {format!r}; expected one of {', '.join(FORMATS)}.")
    if format == JSON or (format == AUTO and _is_for_machines()):
        return _json(service)
    return TextFormatter(color=(_is_tty() if color is None else color) and not no_color())


def of_project() -> logging.Formatter | None:
    """The one that the project's ``LOGGING`` makes by the factory, if any."""
    for each in (getattr(settings, "LOGGING", {}).get("formatters") or {}).values():
        if each.get("()") in (FACTORY, formatter):
            return formatter(**{name: value for name, value in each.items() if name != "()"})
    return None


def is_json() -> bool:
    """Whether this process logs JSON."""
    return any(getattr(handler.formatter, "is_json", False) for handler in logging.root.handlers)


def is_of_worker(given: logging.Formatter | None) -> bool:
    """Whether it is the one of a worker's log, which Celery has configured."""
    return getattr(given, "is_of_worker", False)


def no_color() -> bool:
    """Whether nobody wants colours: see https://no-color.org."""
    return bool(os.environ.get("NO_COLOR"))


class TextFormatter(LineFormatter):
    """One line for each message; tracebacks are indented.

    It ends with the run, if any, except on the command line: there, a job prints the same as without the
    service.
    """

    is_for_many_runs = True
    """What a job logs is on its run in another format."""

    def __init__(self, fmt: str = LINE, *, color: bool = False) -> None:
        super().__init__(fmt)
        self._color = color

    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record), run_of(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        line = super().formatMessage(record)
        if service_name() != COMMAND:
            line += suffix(run_of(record))
        code = _LEVEL_COLORS.get(record.levelname) if self._color else None
        return f"\x1b[{code}m{line}\x1b[0m" if code else line


def suffix(run: LoggedRun | None) -> str:
    """What a line of text says of its run."""
    if run is None:
        return ""
    attempt = "" if run.attempt is None else f" attempt={run.attempt}"
    return f" [job={run.job} run_id={run.run_id}{attempt}]"


def _is_for_machines() -> bool:
    # The first is set by Podman, and in this project's image.
    is_container = bool(os.environ.get("container") or os.environ.get("KUBERNETES_SERVICE_HOST"))  # noqa: SIM112
    return is_container and not _is_tty()


def _is_tty() -> bool:
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _json(service: str) -> logging.Formatter:
    try:
        from jobledger.logs.json_lines import JsonFormatter
    except ImportError as error:
        raise ImproperlyConfigured(
            "Logs as JSON need python-json-logger. Install it, such as by "
            "pip install 'django-jobledger[logs]', or choose the format text."
        ) from error
    return JsonFormatter(service=service)
