"""What becomes of ordinary Celery tasks whose messages were sent for a run, told by Celery's signals.

A child records that it begins the task, and how the task ends or that it will be tried again. The main
process records what a child cannot: that it was killed, that the message was revoked or has expired. It
renews the leases of the runs that its children execute, so that they are lost when the whole worker dies, and
kills a child whose task a user has cancelled.

The task itself is executed as always. If the ledger cannot be written for a while, the child waits, as it
does at the end of a job. What could not be recorded at all is found later: the run stays queued, or is lost.

Tasks that other workers execute, which do not have this service, send no signals here: see ``elsewhere``.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from celery import Task, signals
from celery.exceptions import Retry
from celery.states import IGNORED
from celery.worker import state
from django.db import Error, transaction

from jobledger import clock
from jobledger.alerts import recording
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.models import CANCEL_ACCEPTED, NO_REASON, Reason, Run, Status, Why
from jobledger.outages import is_outage
from jobledger.runs import attempts
from jobledger.runs.identity import IDENTITY, worker_process
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.ordinary_outcomes import REVOKED, of_run, outcome_of_task
from jobledger.runs.outcome import SUCCESS, Outcome
from jobledger.runs.processes import shared_process
from jobledger.runs.processes.forks import write_between_forks
from jobledger.runs.publishing.delivery import RUN_HEADER
from jobledger.runs.received import has_run
from jobledger.runs.service.pulse import pulse
from jobledger.runs.worker import orphans
from jobledger.runs.worker.main_process import child_of

logger = line_logger(__name__)

MAX_OUTAGE_SECONDS = 60.0
"""How long a child waits until the end of a task can be recorded."""
MAX_RETRY_SECONDS = 20.0
LOOK_SECONDS = 10.0
"""How often a worker looks for tasks that were cancelled while their messages were in a queue."""
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
        (pulse, Watch().beat),
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
        _record(partial(_begin_here, pk, task), pk)


def _begin_here(pk: UUID, task: Task[..., Any]) -> None:
    if begin(pk, _worker(task)):
        # The ledger learns the end from here, even if the result backend is down. The message does not say
        # so if its sender knew of no worker with this service.
        task.request.ignore_result = True


def _succeeds(sender: Task[..., Any], **kwargs: Any) -> None:
    if pk := _run_of(sender, sender.request):
        _record(partial(end, pk, SUCCESS, _worker(sender)), pk)


def _fails(sender: Task[..., Any], task_id: str, exception: Exception, **kwargs: Any) -> None:
    """In a child, the task has raised the exception; in the main process, the child is gone."""
    if os.getpid() != _main_pid or shared_process.is_shared():
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


def begin(pk: UUID, worker: str) -> bool:
    """A worker begins the task, for the first time, or again if its message was delivered again.

    Returns whether the run is in this ledger, and has not ended.
    """
    now = clock.in_statement()
    live = Run.objects.filter(pk=pk).unended().exclude(job__in=registry.all_jobs())
    begun = live.update(
        status=Status.RUNNING,
        started_at=now,
        heartbeat_at=now,
        publish_after=None,
        look_at=None,
        worker=worker,
        worker_identity=IDENTITY,
        **NO_REASON.columns,
    )
    return begun == 1


def end(pk: UUID, outcome: Outcome, worker: str) -> None:
    """The task has ended. A run that has ended before, because it was lost for example, is left alone."""
    if Run.objects.filter(pk=pk).unended().exclude(status=Status.RUNNING).exists():
        begin(pk, worker)  # that could not be recorded then
    run = Run.objects.filter(pk=pk).in_state(Status.RUNNING).first()
    if run is not None:
        attempts.end(run, of_run(run, outcome), publish_now=False)


def queue_again(pk: UUID, outcome: Outcome, at: datetime) -> None:
    """Celery has sent another message for the next attempt."""
    run = Run.objects.filter(pk=pk).in_state(Status.RUNNING).first()
    if run is not None:
        attempts.queue_again(run, of_run(run, outcome), at)


def ignore(pk: UUID, *, is_replaced: bool) -> None:
    """The task wants to have no outcome. If it was replaced, the other task has one."""
    running = Run.objects.filter(pk=pk).in_state(Status.RUNNING)
    now = clock.now()
    if is_replaced:
        queued = {"publish_after": now + attempts.SENT_BY_CELERY, "publish_count": 1, "worker": ""}
        running.update(status=Status.QUEUED, started_at=None, heartbeat_at=None, worker_identity="", **queued)
        return
    with transaction.atomic():
        if running.update(status=Status.SENT, finished_at=now, heartbeat_at=None):
            recording.runs_ended(Run.objects.filter(pk=pk).in_state(Status.SENT), now)


def discard(pk: UUID, *, is_expired: bool) -> None:
    """The message was revoked, or has expired; or the child that executes the task was killed for that."""
    run = Run.objects.filter(pk=pk).first()
    if run is None:
        return
    if is_expired:
        expired, now = Run.objects.filter(pk=pk).in_state(Status.QUEUED), clock.now()
        ended = {"finished_at": now, "publish_after": None, **Why.of(Reason.DEADLINE).columns}
        with transaction.atomic():
            if expired.update(status=Status.EXPIRED, **ended):
                recording.runs_ended(Run.objects.filter(pk=pk).in_state(Status.EXPIRED), now)
        return
    now = clock.now()
    ended = {"finished_at": now, "publish_after": None, **REVOKED.why.columns}
    with transaction.atomic():
        if Run.objects.move(pk, from_status=Status.QUEUED, to=Status.CANCELLED, **ended):
            recording.run_ended(run, Status.CANCELLED, now)
            return
    # If a user has cancelled it, that is the reason.
    attempts.end(run, REVOKED, publish_now=False)


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


class Watch:
    """Renews the leases of the runs whose tasks are being executed, and ends those that users have cancelled.

    Remote control may be disabled, so nothing is broadcast: a thread looks into the ledger. The main loop
    kills, since there a child that has not returned its task cannot have been given another one.
    """

    def __init__(self) -> None:
        self._look_at = self._look_for_waiting_at = 0.0
        self._thread: threading.Thread | None = None
        self._cancelled: frozenset[UUID] = frozenset()
        """Of the tasks that were being executed."""
        self._left_alone = set[UUID]()
        """The same, of threads, which nothing can end."""

    def beat(self, **kwargs: object) -> None:
        """To be called in the main loop, often. Does not look while the database has not answered yet."""
        active = {pk: each for each in list(state.active_requests) if (pk := _run_of_message(each))}
        for pk in self._cancelled & active.keys():
            self._end(pk, active[pk])
        self._cancelled = frozenset()
        now = time.monotonic()
        if now < self._look_at or (self._thread is not None and self._thread.is_alive()):
            return
        self._look_at = now + settings.HEARTBEAT_SECONDS
        looks_for_waiting = now >= self._look_for_waiting_at
        if looks_for_waiting:
            self._look_for_waiting_at = now + LOOK_SECONDS
        if active or looks_for_waiting:
            look = partial(self.look, list(active), looks_for_waiting=looks_for_waiting)
            self._thread = threading.Thread(target=look, name="ordinary runs", daemon=True)
            self._thread.start()

    def _end(self, pk: UUID, request: Any) -> None:
        if not shared_process.is_shared():
            logger.warning("Run %s was cancelled: killing %s", pk, child_of(request))
            orphans.kill_child(request.worker_pid)
        elif pk not in self._left_alone:
            self._left_alone.add(pk)
            text = "Run %s was cancelled, but is an ordinary task in a thread: it goes on until it returns"
            logger.warning(text, pk)

    def look(self, pks: list[UUID], *, looks_for_waiting: bool) -> None:
        """Renew the leases of these, and find out what was cancelled. Raises nothing."""

        def look() -> None:
            running = Run.objects.filter(pk__in=pks, worker_identity=IDENTITY).in_state(Status.RUNNING)
            if pks and running.update(heartbeat_at=clock.in_statement()):
                cancelled = running.filter(CANCEL_ACCEPTED)
                self._cancelled = frozenset(cancelled.values_list("pk", flat=True))
            if looks_for_waiting:
                # Celery discards their messages when it takes them from the queue.
                for pk in _cancelled_before_their_start():
                    state.revoked.add(str(pk))

        try:
            write_between_forks(look, within_seconds=MAX_RETRY_SECONDS)
        except Error as error:
            logger.warning("The leases of ordinary tasks could not be renewed: %s", error)


def _cancelled_before_their_start() -> Iterable[UUID]:
    """The ordinary tasks that users have cancelled lately, but whose messages may still be in a queue."""
    # Beat forgets them after a day: see ``elsewhere.looking.claim``.
    lately = Run.objects.filter(look_at__isnull=False).in_state(Status.CANCELLED)
    return lately.values_list("pk", flat=True)


def _run_of_message(request: Any) -> UUID | None:
    """The id of the run for which the main process holds this message of an ordinary task."""
    headers = request.request_dict
    is_ours = RUN_HEADER in headers or bool(headers.get("replaced_task_nesting"))
    return _as_run_id(request.id) if is_ours and registry.of_task(request.name) is None else None
