"""What becomes of ordinary Celery tasks whose messages were sent for a run, told by Celery's signals.

A child records that it begins the task, and how the task ends or that it will be tried again. The main
process records what a child cannot: that it was killed, that the message was revoked or has expired; and it
renews the leases of the runs that its children execute, so that they are lost when the whole worker dies.

The task itself is executed as always. If the ledger cannot be written for a while, the child waits, as it
does at the end of a job. What could not be recorded at all is found later: the run stays queued, or is lost.

Tasks that other workers execute, which do not have this service, send no signals here.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError
from celery import Task, signals
from celery.exceptions import Retry
from celery.states import IGNORED
from celery.worker import state
from django.db import Error, transaction

from jobledger import clock
from jobledger.alerts import recording
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.jobs import registry, secrets
from jobledger.models import NO_REASON, Reason, Run, Status, Trigger, Why
from jobledger.outages import is_outage
from jobledger.runs import attempts, limits
from jobledger.runs.dispatch import IDENTITY, worker_process
from jobledger.runs.execution.forks import write_between_forks
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.outcome import SUCCESS, Outcome, outcome_of, text_of
from jobledger.runs.publishing.delivery import RUN_HEADER
from jobledger.runs.received import has_run
from jobledger.runs.worker.pulse import pulse

logger = line_logger(__name__)

MAX_OUTAGE_SECONDS = 60.0
"""How long a child waits until the end of a task can be recorded."""
MAX_RETRY_SECONDS = 20.0
REVOKED = "celery control revoke"
REPLACED = "Replaced by new task"
"""What ``Task.replace`` says; the other task has the same id, and the same run. There is no other sign."""
_main_pid = 0


def connect() -> None:
    """To be called in a worker's main process, before it has children."""
    global _main_pid  # noqa: PLW0603 - a child must know that it is not this process
    _main_pid = os.getpid()
    for signal, receiver in (
        (signals.task_prerun, _begins),
        (signals.task_success, _succeeds),
        (signals.task_failure, _fails),
        (signals.task_retry, _is_retried),
        (signals.task_postrun, _ends),
        (signals.task_revoked, _is_discarded),
        (pulse, _Leases().renew),
    ):
        name = getattr(receiver, "__qualname__", "")
        signal.connect(receiver, weak=False, dispatch_uid=f"jobledger.ordinary_runs.{name}")


def _run_of(task: Any, request: Any) -> UUID | None:
    """The id of the run that the message was sent for; None for jobs, and for messages of others."""
    # A task that replaces another one has its id, but not its headers.
    is_ours = request is not None and (has_run(request) or bool(request.replaced_task_nesting))
    if not is_ours or registry.of_task(task.name) is not None:
        return None
    return _as_run_id(str(request.id))


def _as_run_id(task_id: str) -> UUID | None:
    try:
        return UUID(task_id)
    except ValueError:
        return None


# In a child


def _begins(task: Task[..., Any], **kwargs: Any) -> None:
    if pk := _run_of(task, task.request):
        _record(partial(begin, pk, _worker(task)), pk)


def _succeeds(sender: Task[..., Any], **kwargs: Any) -> None:
    if pk := _run_of(sender, sender.request):
        _record(partial(end, pk, SUCCESS, _worker(sender)), pk)


def _fails(sender: Task[..., Any], task_id: str, exception: Exception, **kwargs: Any) -> None:
    """In a child, the task has raised the exception; in the main process, the child is gone."""
    if os.getpid() != _main_pid:
        if pk := _run_of(sender, sender.request):
            _record(partial(end, pk, outcome_of_task(exception), _worker(sender)), pk)
        return
    # The message itself is no longer at hand; this happens too rarely for another query to matter.
    if registry.of_task(sender.name) is None and (pk := _as_run_id(task_id)):
        _in_thread(partial(end, pk, outcome_of_task(exception), ""), pk)


def _is_retried(sender: Task[..., Any], request: Any, reason: Any, **kwargs: Any) -> None:
    if (pk := _run_of(sender, request)) and isinstance(reason, Retry):
        cause = reason.exc if isinstance(reason.exc, BaseException) else reason
        _record(partial(queue_again, pk, outcome_of_task(cause), _when(reason.when)), pk)


def _ends(task: Task[..., Any], state: str, retval: object, **kwargs: Any) -> None:
    """Without an outcome: the other signals tell the rest."""
    if state == IGNORED and (pk := _run_of(task, task.request)):
        _record(partial(ignore, pk, is_replaced=str(retval) == REPLACED), pk)


def _worker(task: Task[..., Any]) -> str:
    return worker_process(task.request.hostname, os.getpid())


def _when(when: Any) -> datetime:
    match when:
        case datetime():
            return when if when.tzinfo else when.replace(tzinfo=UTC)
        case int() | float():
            return clock.now() + timedelta(seconds=when)
    return clock.now()


def _record(write: Callable[[], object], pk: UUID) -> None:
    """Write, and wait while the database is unavailable. Raises nothing."""
    until = time.monotonic() + MAX_OUTAGE_SECONDS
    while True:
        try:
            with ledger_connection():
                write()
        except Exception as error:
            if is_outage(error) and time.monotonic() < until:
                time.sleep(settings.HEARTBEAT_SECONDS)
                continue
            logger.exception("What became of run %s, of an ordinary task, could not be recorded", pk)
        return


# What is recorded


def begin(pk: UUID, worker: str) -> None:
    """A worker begins the task, for the first time, or again if its message was delivered again."""
    live = Run.objects.filter(pk=pk, status__in=(Status.QUEUED, Status.RUNNING)).exclude(
        job__in=registry.all_jobs()
    )
    now = clock.in_statement()
    live.update(
        status=Status.RUNNING,
        started_at=now,
        heartbeat_at=now,
        publish_after=None,
        worker=worker,
        worker_identity=IDENTITY,
        **NO_REASON.columns,
    )


def end(pk: UUID, outcome: Outcome, worker: str) -> None:
    """The task has ended. A run that has ended before, because it was lost for example, is left alone."""
    if Run.objects.filter(pk=pk, status=Status.QUEUED).exists():
        begin(pk, worker)  # that could not be recorded then
    run = Run.objects.filter(pk=pk, status=Status.RUNNING).first()
    if run is not None:
        attempts.end(run, _of_run(run, outcome), publish_now=False)


def queue_again(pk: UUID, outcome: Outcome, at: datetime) -> None:
    """Celery has sent another message for the next attempt."""
    run = Run.objects.filter(pk=pk, status=Status.RUNNING).first()
    if run is not None:
        attempts.queue_again(run, _of_run(run, outcome), at)


def ignore(pk: UUID, *, is_replaced: bool) -> None:
    """The task wants to have no outcome. If it was replaced, the other task has one."""
    running = Run.objects.filter(pk=pk, status=Status.RUNNING)
    now = clock.now()
    if is_replaced:
        queued = {"publish_after": now + attempts.SENT_BY_CELERY, "publish_count": 1, "worker": ""}
        running.update(status=Status.QUEUED, started_at=None, heartbeat_at=None, worker_identity="", **queued)
    elif running.update(status=Status.SENT, finished_at=now, heartbeat_at=None):
        recording.runs_ended(Run.objects.filter(pk=pk, status=Status.SENT), now)


def discard(pk: UUID, *, is_expired: bool) -> None:
    """The message was revoked, or has expired; or the child that executes the task was killed for that."""
    run = Run.objects.filter(pk=pk).first()
    if run is None:
        return
    if is_expired:
        expired, now = Run.objects.filter(pk=pk, status=Status.QUEUED), clock.now()
        ended = {"finished_at": now, "publish_after": None, **Why.of(Reason.DEADLINE).columns}
        if expired.update(status=Status.EXPIRED, **ended):
            recording.runs_ended(Run.objects.filter(pk=pk, status=Status.EXPIRED), now)
        return
    why, now = Why.of(Reason.USER, trigger=Trigger.CELERY, comment=REVOKED), clock.now()
    ended = {"finished_at": now, "publish_after": None, **why.columns}
    with transaction.atomic():
        if Run.objects.move(pk, from_status=Status.QUEUED, to=Status.CANCELLED, **ended):
            recording.run_ended(run, Status.CANCELLED, now)
            return
    # If a user has cancelled it, that is the reason.
    attempts.end(run, Outcome(status=Status.CANCELLED, why=why, exit_code=None), publish_now=False)


def outcome_of_task(error: BaseException) -> Outcome:
    """The outcome of a task that has raised the exception, or whose process has died."""
    found = outcome_of(error)
    match error:
        case WorkerLostError():
            why = Why.of(Reason.LOST_PROCESS)
            return Outcome(status=Status.LOST, why=why, exit_code=None, error=text_of(error))
        case SoftTimeLimitExceeded() | TimeLimitExceeded():
            seconds = next((each for each in error.args if isinstance(each, int | float)), None)
            why = Why.of(Reason.TIME_LIMIT, limit_seconds=seconds)
            return replace(found, status=Status.TIMED_OUT, why=why, exit_code=None, error="")
    return replace(found, exit_code=None)


def _of_run(run: Run, outcome: Outcome) -> Outcome:
    """Without the run's secrets, and with what the run knows of it."""
    masked = (
        secrets.without_secrets(run.job, run.options, text, args=run.args)
        for text in (outcome.error, outcome.traceback)
    )
    error, traceback = masked
    why = outcome.why
    if why.reason is Reason.TIME_LIMIT and run.time_limit is not None:
        why = limits.of_run(run).exceeded()
    if why.reason is Reason.LOST_PROCESS:
        why = why.plus(worker=run.worker)
    return replace(outcome, error=error, traceback=traceback, why=why)


# In the main process


def _is_discarded(sender: Any = None, request: Any = None, expired: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002 - Celery's signature
    if pk := _run_of(sender, request):
        _in_thread(partial(discard, pk, is_expired=expired), pk)


def _in_thread(write: Callable[[], None], pk: UUID) -> None:
    """An unresponsive database must not hold up the main process."""

    def record() -> None:
        try:
            write_between_forks(write, within_seconds=MAX_RETRY_SECONDS)
        except Error:
            logger.exception("What became of run %s, of an ordinary task, could not be recorded", pk)

    threading.Thread(target=record, name="ordinary run", daemon=True).start()


class _Leases:
    """Renews the leases of the runs whose tasks are being executed."""

    def __init__(self) -> None:
        self._renew_at = 0.0
        self._thread: threading.Thread | None = None

    def renew(self, **kwargs: object) -> None:
        """To be called often. Does nothing while the last attempt is still waiting for the database."""
        now = time.monotonic()
        if now < self._renew_at or (self._thread is not None and self._thread.is_alive()):
            return
        self._renew_at = now + settings.HEARTBEAT_SECONDS
        active = [each for each in list(state.active_requests) if _may_have_run(each.request_dict)]
        pks = [pk for each in active if (pk := _as_run_id(each.id)) and registry.of_task(each.name) is None]
        if pks:
            self._thread = threading.Thread(target=partial(_renew, pks), name="ordinary leases", daemon=True)
            self._thread.start()


def _may_have_run(headers: Mapping[str, Any]) -> bool:
    return RUN_HEADER in headers or bool(headers.get("replaced_task_nesting"))


def _renew(pks: list[UUID]) -> None:
    running = Run.objects.filter(pk__in=pks, status=Status.RUNNING, worker_identity=IDENTITY)

    def renew() -> None:
        running.update(heartbeat_at=clock.in_statement())

    try:
        write_between_forks(renew, within_seconds=MAX_RETRY_SECONDS)
    except Error as error:
        logger.warning("The leases of ordinary tasks could not be renewed: %s", error)
