"""Runs of a service from outside: messages, rows read by plain SQL, and traces written by jobs.

An audit compares the ledger with the traces: each attempt in the ledger must have written one line,
and each line must belong to an attempt.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from celery import Celery

from proj.state import REDIS_KEY_PREFIX
from tests.integration.database import is_sqlite, rows, time_of, uuid_of
from tests.integration.service import Service
from tests.waiting import wait_until

# Jobs that declare that they may be executed more than once.
MAY_START_AGAIN = ("restarting",)

ENQUEUE = """
from jobledger.models import Trigger
from jobledger.runs.dispatch import RunRequest, enqueue
for number in range({count}):
    print(enqueue(RunRequest(job={job!r}, options={options!r}, trigger=Trigger.ADMIN)).pk)
"""
CANCEL = """
from django.utils import timezone
from jobledger.models import Reason, Run, Why
from jobledger.runs import overlap
print(overlap.request_cancel(Run.objects.get(pk={pk!r}), Why.of(Reason.USER, user="ann"), timezone.now()))
"""


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run as read from its row."""

    pk: UUID
    job: str
    trigger: str
    status: str
    attempt: int
    publish_count: int
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    worker: str
    username: str
    exit_code: int | None
    reason: str
    reason_details: dict[str, Any]
    error: str
    progress_done: int | None
    progress_total: int | None
    parent_id: UUID | None

    @property
    def is_over(self) -> bool:
        """Whether it has reached a final state."""
        return self.status not in ("queued", "running")


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """An earlier attempt of a run."""

    number: int
    status: str
    reason: str
    error: str
    worker: str


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A line that a job wrote."""

    run: UUID
    attempt: int
    what: str
    pid: int


@dataclass(frozen=True, kw_only=True)
class Audit:
    """The comparison of the ledger with the traces."""

    runs: int
    statuses: dict[str, int]
    attempts: int
    """How many attempts were started, according to the ledger."""
    executions: int
    """How many of them have traces."""
    again: int
    """How many runs were executed more than once, as their jobs allow."""
    unfinished: int
    twice: int
    """How many runs were executed more often than their jobs allow, or had an attempt executed twice."""
    missing: int
    """How many attempts have no trace, except those whose process was killed before it could write one."""
    unknown: int
    """How many traces belong to no attempt in the ledger."""

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in vars(self).items())

    @property
    def is_clean(self) -> bool:
        """Whether nothing was silently lost or accidentally executed twice."""
        return not (self.unfinished or self.twice or self.missing or self.unknown)


def call(
    running: Service, job: str, *, task_id: UUID | None = None, app_label: str = "probes", **options: Any
) -> UUID:
    """Send what ``celery call`` sends; returns the task's id, which becomes the run's id."""
    pk = task_id or uuid4()
    rabbitmq = running.environment.get("RABBITMQ_URL", "")
    with Celery(broker=rabbitmq or running.environment["REDIS_URL"], set_as_current=False) as app:
        app.conf.task_default_queue_type = "quorum"
        own = {"confirm_publish": True} if rabbitmq else {"global_keyprefix": REDIS_KEY_PREFIX}
        app.conf.broker_transport_options = own
        # A kept connection to RabbitMQ may have ended.
        app.send_task(f"{app_label}.{job}", kwargs=options, task_id=str(pk), retry=bool(rabbitmq))
    return pk


def call_lasting(running: Service, job: str, **options: Any) -> UUID:
    """Call a job that keeps running, attempt after attempt, until it is allowed to end."""
    return call(running, job, **until_let_end(running, job), **options)


def until_let_end(running: Service, job: str) -> dict[str, Any]:
    """The options with which the job keeps running until it is allowed to end."""
    return {"seconds": 600, "until": str(_end_file(running, job))}


@contextmanager
def let_end(running: Service, job: str) -> Iterator[None]:
    """Let the job's long runs end inside the block."""
    _end_file(running, job).touch()
    try:
        yield
    finally:
        _end_file(running, job).unlink()


def _end_file(running: Service, job: str) -> Path:
    return running.folder / f"end of {job}"


def enqueue(running: Service, job: str, *, count: int = 1, **options: Any) -> list[UUID]:
    """Write queued runs and publish them, as the admin does."""
    printed = running.shell(ENQUEUE.format(count=count, job=job, options=options))
    return [UUID(line) for line in printed.split()]


def cancel(running: Service, pk: UUID) -> None:
    """Request the cancellation of a run as ann."""
    assert running.shell(CANCEL.format(pk=str(pk))) == "True"


def release(running: Service, *pks: UUID) -> None:
    """End running runs that are no longer needed, and wait: cancels them without the service's code."""
    for pk in pks:
        rows(running, _RELEASE, datetime.now(UTC), _key(running, pk))
    for pk in pks:
        wait_for_end(running, pk)


def run_row(running: Service, pk: UUID) -> RunRow | None:
    """The run's row, as soon as there is one."""
    return next(iter(run_rows(running, "id = ?", _key(running, pk))), None)


def run_rows(running: Service, condition: str = "1 = 1", *values: Any) -> list[RunRow]:
    """The rows that match an SQL condition, oldest first."""
    found = rows(running, f"{_RUNS} WHERE {condition} ORDER BY queued_at, id", *values)
    return [_as_row(each) for each in found]


def wait_for_start(running: Service, pk: UUID, *, attempt: int = 1) -> Trace:
    """Wait for the job's first trace of this attempt, which means that it is working."""

    def begun() -> list[Trace]:
        return [trace for trace in traces(running, pk, "begin") if trace.attempt == attempt]

    try:
        return wait_until(begun)[0]
    except TimeoutError as error:
        what = f"attempt {attempt} not started: {run_row(running, pk)}"
        raise AssertionError(f"{what}\n{running.story()}") from error


def wait_for_end(running: Service, pk: UUID) -> RunRow:
    """The row once the run is over."""

    def over() -> RunRow | None:
        row = run_row(running, pk)
        return row if row and row.is_over else None

    try:
        return wait_until(over)
    except TimeoutError as error:
        what = f"not over: {run_row(running, pk)}"
        raise AssertionError(f"{what}\n{running.story()}") from error


def wait_for_status(running: Service, pk: UUID, status: str) -> RunRow:
    """The row once it is in this state."""

    def there() -> RunRow | None:
        row = run_row(running, pk)
        return row if row and row.status == status else None

    return wait_until(there, what=f"{pk} is {status}")


def child_of(running: Service, pk: UUID) -> RunRow:
    """The child run that the run's job has called, once it is working."""
    children = wait_until(
        lambda: run_rows(running, "parent_id = ?", _key(running, pk)), what="it has a child"
    )
    child = children[-1]
    wait_for_start(running, child.pk)
    return child


def attempts_of(running: Service, pk: UUID) -> list[Attempt]:
    """The attempts before the last one."""
    found = rows(running, _ATTEMPTS, _key(running, pk))
    return [Attempt(number=a, status=b, reason=c, error=d, worker=e) for a, b, c, d, e in found]


def output_of(running: Service, pk: UUID, *, attempt: int = 1) -> str:
    """The attempt's output so far, as recorded in the database."""
    return "".join(text for (text,) in rows(running, _OUTPUT, _key(running, pk), attempt))


def output_size(running: Service, pk: UUID) -> tuple[int, int]:
    """How many rows the run's output takes, and how many characters."""
    ((count, length),) = rows(running, _OUTPUT_SIZE, _key(running, pk))
    return int(count), int(length or 0)


def traces(running: Service, pk: UUID | None = None, what: str = "") -> list[Trace]:
    """The lines that the jobs wrote, in order, without those of the job ``trace``."""
    if not running.trace_file.exists():
        return []
    fields = [line.split() for line in running.trace_file.read_text().splitlines()]
    others = [each for each in fields if len(each) == 4]
    read = [Trace(run=UUID(a), attempt=int(b), what=c, pid=int(d)) for a, b, c, d in others]
    return [trace for trace in read if pk in (None, trace.run) and trace.what.startswith(what)]


def whats(running: Service, pk: UUID) -> list[str]:
    """The steps that the run's jobs traced, in order."""
    return [trace.what for trace in traces(running, pk)]


@contextmanager
def audited(running: Service) -> Iterator[None]:
    """At the end of the block, wait until every run created in it is over, and audit them."""
    before = {row.pk for row in run_rows(running)}
    yield
    wait_until(lambda: is_quiet(running), what="every run is over")
    figures = audit(running, before)
    print(f"audit: {figures}")
    assert figures.is_clean, figures


def audit(running: Service, before: Collection[UUID]) -> Audit:
    """Audit all runs of jobs that write traces, except earlier ones."""
    ledger = [row for row in run_rows(running) if row.pk not in before]
    begun = [trace for trace in traces(running, what="begin") if trace.run not in before]
    executed = Counter((trace.run, trace.attempt) for trace in begun)
    started = {(row.pk, row.attempt): row.status for row in ledger if row.started_at}
    for pk, number, status in rows(running, _STARTED_ATTEMPTS):
        if uuid_of(pk) not in before:
            started[uuid_of(pk), number] = status
    per_run = Counter(pk for pk, _ in executed.elements())
    may = {row.pk for row in ledger if row.job in MAY_START_AGAIN}
    return Audit(
        runs=len(ledger),
        statuses=dict(sorted(Counter(row.status for row in ledger).items())),
        attempts=len(started),
        executions=executed.total(),
        again=sum(count > 1 and pk in may for pk, count in per_run.items()),
        unfinished=sum(not row.is_over for row in ledger),
        twice=sum(count > 1 and pk not in may for pk, count in per_run.items())
        + sum(count > 1 for count in executed.values()),
        missing=sum(key not in executed and status != "lost" for key, status in started.items()),
        unknown=len(set(executed) - set(started)),
    )


def is_quiet(running: Service) -> bool:
    """Whether every run is over."""
    ((count,),) = rows(running, "SELECT count(*) FROM jobledger_run WHERE status IN ('queued', 'running')")
    return not count


def _key(running: Service, pk: UUID) -> Any:
    """The id as stored in the database."""
    return pk.hex if is_sqlite(running) else pk


def _as_row(values: tuple[Any, ...]) -> RunRow:
    named = dict(zip(_FIELDS, values, strict=True))
    for name in "pk", "parent_id":
        named[name] = uuid_of(named[name]) if named[name] else None
    for name in "started_at", "heartbeat_at", "finished_at":
        named[name] = time_of(named[name]) if named[name] else None
    if isinstance(named["reason_details"], str):  # SQLite stores JSON as text
        named["reason_details"] = json.loads(named["reason_details"])
    return RunRow(**named)


_FIELDS = tuple(RunRow.__dataclass_fields__)
_RUNS = f"SELECT {', '.join('id' if name == 'pk' else name for name in _FIELDS)} FROM jobledger_run"
_RELEASE = """
UPDATE jobledger_run SET cancel_requested_at = ?, reason = 'user' WHERE id = ? AND status = 'running'
"""
_ATTEMPTS = """
SELECT attempt, status, reason, error, worker FROM jobledger_runattempt WHERE run_id = ? ORDER BY attempt
"""
_STARTED_ATTEMPTS = "SELECT run_id, attempt, status FROM jobledger_runattempt WHERE started_at IS NOT NULL"
_OUTPUT = "SELECT text FROM jobledger_runoutput WHERE run_id = ? AND attempt = ? ORDER BY number"
_OUTPUT_SIZE = "SELECT count(*), sum(length(text)) FROM jobledger_runoutput WHERE run_id = ?"
