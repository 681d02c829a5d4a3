"""Creates every run, whatever started it.

``enqueue`` creates a queued run and publishes its message after the transaction has been committed, so a
worker never receives a run that it cannot see. ``receive`` gets or creates the run of a message that was sent
without one (``celery call``). ``begin`` creates a run that the caller executes itself.

A message is only a wake-up. If the broker does not accept it, the run stays ``queued`` and is published again
after its ``publish_after``.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q

from jobledger import clock
from jobledger.alerts import recording
from jobledger.conf import settings
from jobledger.jobs import registry
from jobledger.jobs.json_text import problem_with, readable, storable
from jobledger.metrics import totals
from jobledger.models import Run, Status, Trigger, Why
from jobledger.runs import ordinary_tasks, overlap, unanswered
from jobledger.runs.identity import IDENTITY
from jobledger.runs.ledger_connection import ledger_connection, savepoint
from jobledger.runs.overlap import FREE, Guard, OverlapError
from jobledger.runs.publishing import intervals, job_routes, publisher
from jobledger.tracing import context

# Maps a task id that is not a UUID to the same run id at every delivery (RFC 9562, version 5).
TASK_ID_NAMESPACE = uuid.UUID("5ba1f6ff-6a3a-4a4c-9a3e-2f4f0e7b3c11")


ANSWER_SECONDS = 5.0
"""How long whoever starts a run waits, such as a request, if the database does not answer."""
LOCK_TIMEOUT_SECONDS = 5
"""If a caller's transaction has locked what the new run refers to, such as its user."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What to run, and why."""

    job: str
    """The name of a job or of an ordinary Celery task."""
    options: dict[str, Any] = field(default_factory=dict)
    args: list[Any] = field(default_factory=list)
    """Positional arguments of an ordinary Celery task; jobs have none."""
    trigger: Trigger
    username: str = ""
    user_id: Any = None
    schedule_id: int | None = None
    schedule_name: str = ""
    scheduled_for: datetime | None = None
    start_before: datetime | None = None
    routing: dict[str, Any] = field(default_factory=dict)
    """Its own; what it leaves open, its job may declare."""
    time_limit: timedelta | None = None
    """Its schedule's own; None: the job's."""
    time_limit_grace: timedelta | None = None
    parent_id: uuid.UUID | None = None
    trace_context: context.TraceContext = field(default_factory=context.current)
    """By default, that of the calling code."""
    start_after: datetime | None = None
    """A queued run never starts before this time."""
    enqueued_as: dict[str, Any] = field(default_factory=dict)

    def as_row(self) -> dict[str, Any]:
        """The fields of a ``Run``, with texts truncated to fit and made storable in any database."""
        texts = {name: readable(getattr(self, name))[:limit] for name, limit in _max_lengths().items()}
        return {**vars(self), **texts, "options": storable(self.options), "args": storable(self.args)}

    def as_row_for_worker(self) -> dict[str, Any]:
        """The same for a run that a worker executes: it has a queue."""
        return {**self.as_row(), "routing": job_routes.completed(self.job, self.routing)}


@cache
def _max_lengths() -> Mapping[str, int]:
    fields = {name: Run._meta.get_field(name) for name in ("job", "username", "schedule_name")}
    return {name: getattr(field, "max_length", 0) for name, field in fields.items()}


@dataclass(frozen=True, kw_only=True)
class Once:
    """That a request, which its client may send again, starts one run."""

    run_id: uuid.UUID
    """Always the same, whatever is requested."""
    request_digest: str
    """Of what is requested: tells it from another request that would have the same run."""


def enqueue(request: RunRequest, *, run_id: uuid.UUID | None = None, once: Once | None = None) -> Run:
    """Create a queued run, and publish its message once the current transaction has been committed.

    One that may not start yet is left to beat, which publishes it when it may. With ``once``, raises
    RepeatedError if it has been requested before.
    """
    now = clock.now()
    publish_after = request.start_after or now + intervals.GRACE_PERIOD
    row = {**request.as_row_for_worker(), "queued_at": now, "publish_after": publish_after}
    run = Run.objects.create(pk=run_id or uuid.uuid4(), **row) if once is None else _create_once(once, row)
    if request.start_after is None:
        transaction.on_commit(partial(publisher.try_to_publish, [run]))
    return run


def certainly(
    write: Callable[[uuid.UUID], Run],
    *,
    once: Once | None = None,
    within_seconds: float = ANSWER_SECONDS,
) -> Run:
    """Enqueue a run by a function of its id that has a transaction of its own, and certainly once.

    If the database does not answer whether it was committed, waits until it is known. Raises UnansweredError
    if the database is not back in time. In a transaction of the caller, who hears whether that is committed,
    the function is only called.
    """
    run_id = once.run_id if once else uuid.uuid4()
    if connection.in_atomic_block:
        return write(run_id)

    def noticing() -> Run:
        with unanswered.noticed():
            return write(run_id)

    what = f"run {run_id} was queued"
    return unanswered.certain(noticing, partial(_enqueued, run_id), what=what, within_seconds=within_seconds)


def _enqueued(run_id: uuid.UUID) -> Run | None:
    """The run, if it was created after all; its message is published now."""
    found = Run.objects.filter(pk=run_id)
    # A standby that only reads also has it, but not yet the last word.
    if not found.update(queued_at=F("queued_at")):
        return None
    run = found.first()
    if run is not None and (run.status, run.publish_count, run.start_after) == (Status.QUEUED, 0, None):
        publisher.try_to_publish([run])
    return run


class RepeatedError(Exception):
    """A run with this id has been requested before."""

    def __init__(self, run: Run, *, is_same: bool) -> None:
        super().__init__(f"run {run.pk} exists already")
        self.run = run
        self.is_same = is_same
        """Whether the same was requested."""


def _create_once(once: Once, row: dict[str, Any]) -> Run:
    try:
        with transaction.atomic():
            return Run.objects.create(pk=once.run_id, request_digest=once.request_digest, **row)
    except IntegrityError as error:
        if (run := Run.objects.filter(pk=once.run_id).defer("traceback").first()) is None:
            raise
        raise RepeatedError(run, is_same=run.request_digest == once.request_digest) from error


def begin(
    request: RunRequest,
    *,
    worker: str,
    guard: Guard = FREE,
    line_id: uuid.UUID | None = None,
    meanwhile: Callable[[], object] = lambda: None,
) -> Run:
    """Create a run that the caller executes itself. Raises OverlapError if another run holds its key.

    ``line_id`` is the run of a wrapped line of a crontab: it is continued, unless another process does so.
    If the database does not answer whether it was created, waits for a lease until it is known, and calls
    ``meanwhile`` now and then. Raises UnansweredError if the database is not back by then.
    """
    ids = _Ids(new=uuid.uuid4(), line=line_id)
    begin_it = partial(_begin_unless_held, request, worker, guard, ids)

    def noticing() -> Run:
        with ledger_connection() as is_beside_transaction, unanswered.noticed():
            if not is_beside_transaction:
                return begin_it()
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
                return begin_it()

    return unanswered.certain(
        noticing,
        partial(_ours, ids, Status.RUNNING),
        what=f"run {ids.new} of {request.job} was created",
        within_seconds=settings.LEASE_SECONDS,
        meanwhile=meanwhile,
    )


@dataclass(frozen=True, kw_only=True)
class _Ids:
    """Of a run that this process creates, and of the one that it continues instead, if it can."""

    new: uuid.UUID
    line: uuid.UUID | None


@ledger_connection()
def _ours(ids: _Ids, status: Status) -> Run | None:
    """The run that this process has created or continued but does not know of, in this state."""
    ours = Run.objects.filter(Q(pk=ids.new) | Q(pk=ids.line, worker_identity=IDENTITY)).in_state(status)
    # A standby that only reads also has it, but not yet the last word.
    if not ours.update(heartbeat_at=clock.in_statement() if status is Status.RUNNING else None):
        return None
    return ours.first()


@ledger_connection()
def begin_line(line_id: uuid.UUID, request: RunRequest, *, worker: str, started_at: datetime) -> Run:
    """The run of a wrapped line of a crontab, which the job on it may already have created, or ended."""
    with transaction.atomic():
        # It may have taken long until the database was available.
        now = clock.now()
        row = {**_running(request, worker, started_at), "heartbeat_at": now}
        run, is_new = Run.objects.get_or_create(pk=line_id, defaults=row)
        previous, is_backdated = None if is_new else run.queued_at, is_new
        # Never later, as after a step of the clock: it may be counted already.
        queued_at = started_at if previous is None else min(started_at, previous)
        if not is_new:
            started = Run.objects.filter(pk=line_id, started_at__isnull=False)
            is_backdated = started.update(queued_at=queued_at, started_at=started_at, worker=worker) == 1
            run.started_at, run.worker = started_at, worker
        if is_backdated:
            totals.note_backdated(run.pk, queued_at, previous, now)
    return run


def _begin_unless_held(request: RunRequest, worker: str, guard: Guard, ids: _Ids) -> Run:
    try:
        return _begin(request, worker, guard, ids)
    except IntegrityError as error:
        if not guard.key:
            raise
        if (holder := overlap.holder_of(guard.key)) is not None:
            raise OverlapError(overlap.held_by(holder)) from error
    # The holder has finished in the meantime.
    return _begin(request, worker, guard, ids)


def skip(request: RunRequest, *, why: Why, exit_code: int, line_id: uuid.UUID | None = None) -> Run:
    """Create a run that was not executed, or end that of a wrapped line of a crontab as such.

    Waits as ``begin`` does.
    """
    ids = _Ids(new=uuid.uuid4(), line=line_id)
    ended = {"status": Status.SKIPPED, "exit_code": exit_code, **why.columns}
    return unanswered.certain(
        partial(_skip, request, ids, ended),
        partial(_ours, ids, Status.SKIPPED),
        what=f"run {ids.new} of {request.job} was recorded as skipped",
        within_seconds=settings.LEASE_SECONDS,
    )


@ledger_connection()
def _skip(request: RunRequest, ids: _Ids, ended: dict[str, Any]) -> Run:
    now = clock.now()
    ended = {**ended, "finished_at": now}
    with unanswered.noticed(), transaction.atomic():
        run = _continued(ids.line, request, "", **ended, started_at=None, heartbeat_at=None)
        run = run or Run.objects.create(pk=ids.new, **request.as_row(), queued_at=now, **ended)
        recording.runs_ended([run], now)
    return run


def _begin(request: RunRequest, worker: str, guard: Guard, ids: _Ids) -> Run:
    with transaction.atomic():
        run = _continued(ids.line, request, worker, concurrency_key=guard.key)
        # With SQLite, the transaction has waited for others until here: one may have ended the key's holder.
        row = {**_running(request, worker, clock.now()), "concurrency_key": guard.key}
        return run or Run.objects.create(pk=ids.new, **row)


def _running(request: RunRequest, worker: str, now: datetime) -> dict[str, Any]:
    times = {"queued_at": now, "started_at": now, "heartbeat_at": now}
    return {**request.as_row(), "status": Status.RUNNING, "worker": worker, **times}


def _continued(line_id: uuid.UUID | None, request: RunRequest, worker: str, **changes: Any) -> Run | None:
    """The run of the line, changed; None if there is none, or another process has continued it."""
    if line_id is None:
        return None
    row = {**_running(request, worker, clock.now()), "trigger": Trigger.CRON}
    # Its own recorder may not have created it yet.
    Run.objects.get_or_create(pk=line_id, defaults=row)
    line = Run.objects.filter(pk=line_id, worker_identity="").that_have(job=row["job"], trigger=Trigger.CRON)
    continuable = line.in_state(Status.RUNNING)
    # Lets other processes know that it is continued.
    changes = {"options": row["options"], "worker_identity": IDENTITY, **changes}
    return Run.objects.get(pk=line_id) if continuable.update(**changes) else None


@ledger_connection()
def receive(task_id: str, request: Callable[[], RunRequest]) -> Run:
    """The run of a delivered message. If there is none, a queued one is created from the request.

    All deliveries of a message get the same row, even if they are simultaneous.
    """
    pk = run_id_of(task_id)
    if (run := Run.objects.filter(pk=pk).first()) is not None:
        return run
    row = {**request().as_row_for_worker(), "queued_at": clock.in_statement()}
    try:
        with savepoint():
            run = Run.objects.create(pk=pk, **row)
    except IntegrityError:
        # Another delivery may have been faster.
        if (run := Run.objects.filter(pk=pk).first()) is None:
            raise
    else:
        # It is read if somebody needs it.
        del run.queued_at
    return run


def run_id_of(task_id: str) -> uuid.UUID:
    """Convert a task id to a run id; one that is not a UUID is always mapped to the same UUID."""
    try:
        return uuid.UUID(task_id)
    except ValueError:
        return uuid.uuid5(TASK_ID_NAMESPACE, readable(task_id))


class CannotRunAgainError(Exception):
    """This run cannot be repeated; the message says why."""


def run_again(
    run: Run,
    *,
    trigger: Trigger,
    username: str,
    user_id: Any = None,
    run_id: uuid.UUID | None = None,
    once: Once | None = None,
) -> Run:
    """Enqueue a new run that does the same. Raises CannotRunAgainError, or RepeatedError as ``enqueue``."""
    if not Status(run.status).is_final:
        raise CannotRunAgainError(f"Run {run.pk} is still {run.get_status_display()}.")
    if run.job not in registry.all_jobs() and (problem := ordinary_tasks.why_not_schedulable(run.job)):
        is_gone = run.job not in ordinary_tasks.known_tasks()
        raise CannotRunAgainError(
            f"Job or task {run.job!r} no longer exists." if is_gone else f"Cannot run again: {problem}."
        )
    for name in ("options", "args", "routing"):
        if problem := problem_with(getattr(run, name)):
            raise CannotRunAgainError(f"Cannot run again: its {name} cannot be used: {problem}.")
    return enqueue(
        RunRequest(
            job=run.job,
            options=run.options,
            args=run.args,
            trigger=trigger,
            username=username,
            user_id=user_id,
            schedule_name=run.schedule_name,
            scheduled_for=run.scheduled_for,
            routing=run.routing,
            time_limit=run.time_limit,
            time_limit_grace=run.time_limit_grace,
            enqueued_as={name: value for name, value in run.enqueued_as.items() if name != "run_after"},
        ),
        run_id=run_id,
        once=once,
    )
