"""Log records as JSON, one object per line. Imported only if it is used, since it needs an extra."""

import json
import logging
import math
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from jobledger.jobs import secrets
from jobledger.logs import service as services
from jobledger.logs.masking import masked
from jobledger.logs.running import ATTRIBUTE, LoggedRun, run_of

# It has no part in type checks, since it need not be installed.
_PythonJsonFormatter: Any = import_module("pythonjsonlogger.json").JsonFormatter

MAX_DEPTH = 8
_OMITTED = {
    # Its facts about a task, of which the run's say more.
    "celery": {"data"},
    # An object, and what the time says already.
    "django": {"request", "server_time"},
}
_MAIN = ("MainProcess", "MainThread")


class JsonFormatter(_PythonJsonFormatter):  # type: ignore[misc]  # its base may not be installed
    """The fields are described in docs/how-to/read-the-logs.md. What a record has as ``extra`` is added."""

    is_for_many_runs = is_json = True

    def __init__(self, *, service: str = "") -> None:
        # Everything but ASCII is escaped, and with it what could hide or reverse text on a terminal.
        super().__init__(json_serializer=_dumps, json_ensure_ascii=True)
        self._service = service

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        run = run_of(record)
        own = {**self._of_record(record, run), **(run.fields if run else _task(record))}
        for name, text in (("exception", "exc_info"), ("stack", "stack_info")):
            if traceback := message_dict.pop(text, None):
                own[name] = masked(traceback, run)
        others: dict[str, Any] = {}
        super().add_fields(others, record, message_dict)
        omitted = {ATTRIBUTE, *own, *_OMITTED.get(record.name.partition(".")[0], ())}
        more = {name: value for name, value in others.items() if name not in omitted}
        log_data.update(own)
        log_data.update((name, _masked(name, value, run)) for name, value in more.items())

    def _of_record(self, record: logging.LogRecord, run: LoggedRun | None) -> dict[str, Any]:
        found = {
            "time": _rfc3339(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname,
            "logger": record.name,
            "message": masked(record.message, run),
            "service": self._service or services.service(),
            "process": record.process,
        }
        names = {"process_name": record.processName, "thread": record.threadName}
        return found | {name: value for name, value in names.items() if value and value not in _MAIN}


def _rfc3339(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _task(record: logging.LogRecord) -> dict[str, Any]:
    """What a line of Celery's names, if it is about an ordinary task."""
    data = getattr(record, "data", None)
    if not record.name.startswith("celery.") or not isinstance(data, dict):
        return {}
    return {"task": data.get("name"), "task_id": data.get("id")}


def _masked(name: str, value: Any, run: LoggedRun | None, depth: int = 0) -> Any:
    """The value as JSON can have it, without secrets, whatever it is."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case _ if secrets.looks_secret(name):
            return secrets.MASK
        case str():
            return masked(value, run)
        case dict() if depth < MAX_DEPTH:
            return {str(key): _masked(str(key), each, run, depth + 1) for key, each in value.items()}
        case list() | tuple() | set() | frozenset() if depth < MAX_DEPTH:
            return [_masked("", each, run, depth + 1) for each in value]
        case datetime():
            return _rfc3339(value.astimezone(UTC)) if value.tzinfo else value.isoformat()
        case _:
            return masked(str(value), run)


def _dumps(fields: dict[str, Any], **options: Any) -> str:
    return json.dumps(fields, **options)
