"""Claims a run for this process: a conditional update moves it from queued to running, for one process only.

If the database does not answer whether the update was committed (``unanswered``), the run might be running,
but nowhere. So whoever has claimed it waits until the database is back, and looks.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, cast
from uuid import UUID

from django.db.models import F

from jobledger import clock
from jobledger.jobs.registry import Job
from jobledger.models import Run, Status
from jobledger.runs import overlap, unanswered
from jobledger.runs.execution.run_end import MAX_OUTAGE_SECONDS
from jobledger.runs.identity import IDENTITY
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.outcome import outcome_of, traceback_of
from jobledger.runs.publishing import publisher

_lock = threading.Lock()
_in_hand = Counter[UUID]()


@contextmanager
def in_hand(run_id: UUID) -> Iterator[None]:
    """To be entered before a run is claimed, until it has been executed.

    Where runs are executed in threads, two of them may have messages of the same run.
    """
    with _lock:
        _in_hand[run_id] += 1
    try:
        yield
    finally:
        with _lock:
            _in_hand[run_id] -= 1
            if not _in_hand[run_id]:
                del _in_hand[run_id]


def claim(run_id: UUID, *, worker: str, job: Job | None = None) -> Run | None:
    """Move a queued run to running, for this worker only.

    Returns None if it is not queued, or if it is too early or too late to start. A run that must not overlap
    with a running one is skipped or has to wait, and one of which nobody knows with what it must not overlap
    fails: both are returned in their new state. If it is known which job it is a run of, a single statement
    is usually enough.
    """
    by = {"worker": worker, "worker_identity": IDENTITY}
    return unanswered.certain(
        partial(_claim, run_id, by, job),
        partial(_claimed, run_id, by),
        what=f"run {run_id} was claimed",
        within_seconds=MAX_OUTAGE_SECONDS,
    )


@ledger_connection()
def _claim(run_id: UUID, by: dict[str, str], job: Job | None) -> Run | None:
    with unanswered.noticed():
        return _start(run_id, by, job)


@ledger_connection()
def _claimed(run_id: UUID, by: dict[str, str]) -> Run | None:
    """The run, if this process has claimed it, but does not know that and has not begun to execute it."""
    with _lock:
        if _in_hand[run_id] > 1:
            return None
    unbegun = Run.objects.filter(pk=run_id, heartbeat_at=F("started_at"), **by).in_state(Status.RUNNING)
    # A standby that only reads also has the claim, but not yet the last word.
    if not unbegun.update(heartbeat_at=F("started_at")):
        return None
    return unbegun.select_related("schedule__policy").first()


def _start(run_id: UUID, by: dict[str, str], job: Job | None) -> Run | None:
    if job is not None and (run := overlap.start_at_once(run_id, job, **by)) is not None:
        return run
    # The policy and the time come with the run, instead of in two more statements.
    startable = Run.objects.startable_run(run_id, clock.in_statement()).select_related("schedule__policy")
    run = startable.annotate(found_at=clock.in_statement()).first()
    if run is None:
        publisher.postpone(run_id, clock.now())
        return None
    now = cast("Any", run).found_at
    try:
        guard = overlap.guard_of(run)
    except overlap.NoKeyError as error:
        return _failed(run, error)
    changes = {"started_at": now, "heartbeat_at": now, "publish_after": None}
    return run if overlap.start(run, guard, now, **changes, **by) else None


def _failed(run: Run, error: overlap.NoKeyError) -> Run | None:
    """The run, which must not start, since it may overlap with others; None if it is no longer queued."""
    cause = error.__cause__ or error
    if not publisher.fail(run, str(error), traceback_of(cause), why=outcome_of(cause).why):
        return None
    run.refresh_from_db()
    return run
