"""Which run a log record belongs to.

The thread that executes a run knows it, and so do asyncio tasks and forked processes, which inherit its
context. Threads that a job starts do not: in a process that executes one run at a time, such as a worker's
child or ``manage.py``, all of them are the run's. In a worker that executes runs in threads, those of a job
inherit its context (``job_threads``). In any other process, such as a web server whose view calls a job, what
they log names no run.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from jobledger.jobs import registry

ATTRIBUTE = "jobledger_run"
"""Of records that name their run themselves, given as ``extra``."""


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What a record says of its run."""

    job: str
    run_id: str
    attempt: int | None = None
    schedule: str = ""
    trigger: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of which the secret ones are masked."""

    @property
    def fields(self) -> dict[str, Any]:
        named = {"job": self.job, "run_id": self.run_id, "attempt": self.attempt}
        found = {**named, "schedule": self.schedule, "trigger": self.trigger}
        return {name: value for name, value in found.items() if value not in (None, "")}


_current: ContextVar[LoggedRun | None] = ContextVar("logged_run", default=None)
_of_process: list[LoggedRun] = []
"""The runs that this process executes, one inside the other."""


class _Here(threading.local):
    """The state of a thread."""

    last: LoggedRun | None = None
    """The last run that it has executed, or has received the message of."""


_here = _Here()


@contextmanager
def logging_as(run: LoggedRun, *, is_process_wide: bool) -> Iterator[None]:
    """What is logged during the block belongs to the run: by this thread, or by any in this process."""
    token = _current.set(run)
    if is_process_wide:
        _of_process.append(run)
    try:
        yield
    finally:
        # Now, since another one may have been executed inside of it.
        note(run)
        if is_process_wide:
            _of_process.remove(run)
        _current.reset(token)


def note(run: LoggedRun) -> None:
    """Celery's lines about this run, which only contain its id, may follow."""
    _here.last = run


def current() -> LoggedRun | None:
    """The run whose code calls this, if any."""
    return _current.get()


def run_of(record: logging.LogRecord) -> LoggedRun | None:
    """The run that the record belongs to, to be asked by the thread that logs it; None if there is none."""
    named = getattr(record, ATTRIBUTE, None)
    if isinstance(named, LoggedRun):
        return named
    return _of_celery(record) or _current.get() or (_of_process[-1] if _of_process else None)


def _of_celery(record: logging.LogRecord) -> LoggedRun | None:
    """The run of a task, if the record is one of Celery's lines about its message."""
    data = getattr(record, "data", None)
    if not record.name.startswith("celery.") or not isinstance(data, dict):
        return None
    task_id = str(data.get("id"))
    if _here.last is not None and _here.last.run_id == task_id:
        return _here.last
    job = registry.of_task(str(data.get("name")))
    return LoggedRun(job=job.name, run_id=task_id) if job and _is_id(task_id) else None


def is_of_last_run(record: logging.LogRecord) -> bool:
    """Whether the record is one of Celery's lines about the last run that was noted."""
    return _here.last is not None and _of_celery(record) is _here.last


def _is_id(text: str) -> bool:
    """Another task's id is not its run's."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


class RunFields(logging.Filter):
    """Adds ``job``, ``run_id``, ``attempt``, ``schedule`` and ``trigger`` to records; empty without a run."""

    def filter(self, record: logging.LogRecord) -> bool:
        run = run_of(record)
        fields = run.fields if run else {}
        for name in ("job", "run_id", "attempt", "schedule", "trigger"):
            setattr(record, name, fields.get(name, ""))
        return True
