"""The one way in: every run begins here, whatever started it.

``enqueue`` writes a queued run and publishes its message after the transaction has committed, so a
worker never hears of a run that it cannot see. ``receive`` finds or makes the run of a message
that came without one (``celery call``). ``begin`` makes a run that its maker executes itself. A run
also says who asked for it and which process executes it: those names are formed here.

A message is only a wake-up. When the broker does not take it, the run stays ``queued``, its
``publish_after`` passes, and it is published again.
"""

import getpass
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, partial
from typing import Any

from django.db import IntegrityError, transaction

from jobledger import clock
from jobledger.jobs import registry
from jobledger.jobs.json_text import readable, storable
from jobledger.models import Run, Status, Trigger, Why
from jobledger.runs import ordinary_tasks, overlap
from jobledger.runs.overlap import FREE, Guard, OverlapError
from jobledger.runs.publishing import publisher

# Gives a task id that is no UUID the same run id at every delivery (RFC 9562, version 5).
TASK_ID_NAMESPACE = uuid.UUID("5ba1f6ff-6a3a-4a4c-9a3e-2f4f0e7b3c11")


IDENTITY = uuid.uuid4().hex
"""Of this process and its children: two workers can have the same name, and two processes the same id."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What is to run, and why."""

    job: str
    """A job's name, or the name of an ordinary Celery task."""
    options: dict[str, Any] = field(default_factory=dict)
    args: list[Any] = field(default_factory=list)
    """Positional arguments; an ordinary Celery task may have some, a job has none."""
    trigger: Trigger
    who: str = ""
    user_id: Any = None
    schedule_id: int | None = None
    schedule_name: str = ""
    scheduled_for: datetime | None = None
    parent_id: uuid.UUID | None = None

    def as_row(self) -> dict[str, Any]:
        """The request as the fields of a ``Run``, with texts that fit and that any database can store."""
        texts = {name: readable(getattr(self, name))[:longest] for name, longest in _longest_texts().items()}
        return {**vars(self), **texts, "options": storable(self.options), "args": storable(self.args)}


@cache
def _longest_texts() -> Mapping[str, int]:
    fields = {name: Run._meta.get_field(name) for name in ("job", "who", "schedule_name")}
    return {name: getattr(field, "max_length", 0) for name, field in fields.items()}


def enqueue(request: RunRequest) -> Run:
    """Write a queued run, and publish its message once the surrounding transaction has committed."""
    now = clock.now()
    run = Run.objects.create(
        **request.as_row(), queued_at=now, publish_after=now + publisher.RECORDER_GRACE_PERIOD
    )
    transaction.on_commit(partial(publisher.try_to_publish, [run]))
    return run


def begin(request: RunRequest, *, worker: str, guard: Guard = FREE) -> Run:
    """Write a run that the caller executes itself. Raises OverlapError if another run holds its job."""
    try:
        return _begin(request, worker, guard)
    except IntegrityError as error:
        if not guard.key:
            raise
        if (holder := overlap.holder_of(guard.key)) is not None:
            raise OverlapError(overlap.held_by(holder)) from error
    # The holder has ended in the meantime.
    return _begin(request, worker, guard)


def skip(request: RunRequest, *, why: Why, exit_code: int) -> Run:
    """Write a run that was not executed."""
    now = clock.now()
    return Run.objects.create(
        **request.as_row(),
        status=Status.SKIPPED,
        queued_at=now,
        finished_at=now,
        exit_code=exit_code,
        **why.columns,
    )


def _begin(request: RunRequest, worker: str, guard: Guard) -> Run:
    now = clock.now()
    # A savepoint: in the caller's transaction a failing insert must undo itself alone.
    with transaction.atomic():
        return Run.objects.create(
            **request.as_row(),
            status=Status.RUNNING,
            queued_at=now,
            started_at=now,
            heartbeat_at=now,
            worker=worker,
            concurrency_key=guard.key,
        )


def receive(task_id: str, request: Callable[[], RunRequest]) -> Run:
    """The run of a delivered message. If there is none, a queued one is made of the request.

    All deliveries of one message get the same row, even at the same time.
    """
    pk = run_id_of(task_id)
    if (run := Run.objects.filter(pk=pk).first()) is not None:
        return run
    run, _ = Run.objects.get_or_create(pk=pk, defaults={**request().as_row(), "queued_at": clock.now()})
    return run


def run_id_of(task_id: str) -> uuid.UUID:
    """A task id as a run id; one that is no UUID is mapped to one, always to the same."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        return uuid.uuid5(TASK_ID_NAMESPACE, readable(task_id))


class NotStartedAgainError(Exception):
    """This run cannot be started again; the message says why."""


def start_again(run: Run, *, trigger: Trigger, who: str, user_id: Any = None) -> Run:
    """A new, queued run that does the same. Raises NotStartedAgainError."""
    if not Status(run.status).is_final:
        raise NotStartedAgainError(f"Run {run.pk} is not over: {run.get_status_display()}.")
    if run.job not in registry.all_jobs() and (problem := ordinary_tasks.why_refused(run.job)):
        is_gone = run.job not in ordinary_tasks.known_tasks()
        raise NotStartedAgainError(
            f"There is no job or task {run.job!r} any more." if is_gone else f"Not started again: {problem}."
        )
    return enqueue(
        RunRequest(
            job=run.job,
            options=run.options,
            args=run.args,
            trigger=trigger,
            who=who,
            user_id=user_id,
            schedule_name=run.schedule_name,
            scheduled_for=run.scheduled_for,
        )
    )


def operating_system_user() -> str:
    """The name of the user that this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id that has no name
        return f"uid {os.getuid()}"


def command_line_process() -> str:
    """This process, started from the command line, as ``Run.worker`` names it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def worker_process(hostname: str | None, pid: object) -> str:
    """A child process of the Celery worker with this host name (``celery@host``)."""
    return f"{hostname or ''}:{pid}"
