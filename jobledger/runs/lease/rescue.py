"""Rescue: a run whose process died is marked as lost, and restarted if its job allows that.

A worker that notices the death of a child process records it at once. If the child has died while it was
claiming the run, so that the job has certainly not begun, the run is queued again.

All other lost runs are found by their lease: they are running, but their heartbeat is too old. One that has
never sent a heartbeat is lost as well: nobody knows whether its job had just begun when its machine died. Any
number of beats may check at the same time; each run is changed by one of them, and runs that are locked by
another process are left for the next check.

A lease runs only while heartbeats could be seen (``watch``).
"""

import time
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F, QuerySet

from jobledger.models import Reason, Run, Status, Why
from jobledger.runs import attempts
from jobledger.runs.identity import command_line_process
from jobledger.runs.lease.watch import Watch, lease_duration, silence
from jobledger.runs.limits import of_run as limits_of
from jobledger.runs.outcome import OUT_OF_MEMORY_EXIT_CODE, Outcome
from jobledger.runs.processes import process_tree
from jobledger.runs.processes.resources import Usage

BATCH = 100


def is_overdue(run: Run, now: datetime) -> bool:
    """Whether the run's last heartbeat is older than a lease: it is lost, unless none could be seen."""
    return run.heartbeat_at is not None and run.heartbeat_at < now - lease_duration()


def rescue(now: datetime, watch: Watch) -> int:
    """End the runs that sent no heartbeat for a whole lease although they could have; returns how many."""
    began = time.monotonic()
    lease = lease_duration()
    silent = Run.objects.filter(status=Status.RUNNING, heartbeat_at__lt=now - silence())
    if not silent.exists():
        watch.look(now, lease)
        return 0
    if not _can_be_written(silent):
        return 0
    limit = watch.look(now + timedelta(seconds=time.monotonic() - began), lease)
    stale = silent.filter(heartbeat_at__lt=limit)
    pks = list(stale.order_by("heartbeat_at").values_list("pk", flat=True)[:BATCH])
    still_stale = Run.objects.filter(heartbeat_at__lt=limit).in_state(Status.RUNNING)
    return sum(_end_if_stale(still_stale.filter(pk=pk)) for pk in pks)


def give_up(
    run: Run,
    why: Why,
    *,
    error: str = "",
    exit_signal: str = "",
    usage: Usage | None = None,
    timed_out: bool = False,
) -> bool:
    """End a run whose process has died. Returns False if it was no longer running."""
    status, exit_code = Status.LOST, None
    if timed_out or _is_past_time_limit(run):
        status = Status.TIMED_OUT
    elif why.reason is Reason.OUT_OF_MEMORY:
        status, exit_code = Status.FAILED, OUT_OF_MEMORY_EXIT_CODE
    outcome = Outcome(
        status=status, why=why, exit_code=exit_code, exit_signal=exit_signal, usage=usage, error=error
    )
    # The caller must not be held up by an unresponsive broker.
    return attempts.end(run, outcome, publish_now=False)


def called_by(parent: UUID, *, ended: int) -> list[Run]:
    """The running runs of jobs that this run's job has called, and that have ended with this process.

    It has called them there, or in another process that is gone as well: that of an isolated run, or one that
    it has forked. The innermost come first.
    """
    on_this_machine = command_line_process(ended).rpartition(":")[0]
    running = Run.objects.filter(
        parent=parent, status=Status.RUNNING, worker__startswith=f"{on_this_machine}:"
    )
    gone = [run for run in running if is_called_in(ended, run) or not process_tree.is_alive(_process_of(run))]
    return [run for each in gone for run in (*called_by(each.pk, ended=ended), each)]


def is_called_in(process: int, run: Run) -> bool:
    """Whether a job in this process has called the run's job there."""
    return run.worker == command_line_process(process)


def _process_of(run: Run) -> int:
    pid = run.worker.rpartition(":")[2]
    return int(pid) if pid.isdecimal() else 0


def _can_be_written(silent: QuerySet[Run]) -> bool:
    """Whether the database accepts writes: if it does not, that explains the missing heartbeats.

    This may wait for a lock, so the caller must account for the time that it takes.
    """
    with transaction.atomic():
        pk = silent.select_for_update(skip_locked=True).values_list("pk", flat=True).first()
        return pk is not None and Run.objects.filter(pk=pk).update(heartbeat_at=F("heartbeat_at")) == 1


def _end_if_stale(stale: QuerySet[Run]) -> bool:
    """End the run, unless it has sent a heartbeat by now, or an unresponsive process has locked its row."""
    with transaction.atomic():
        run = stale.select_for_update(skip_locked=True).first()
        if run is None:
            return False
        why = Why.of(Reason.LOST_HEARTBEAT, worker=run.worker, heartbeat_at=run.heartbeat_at)
        return give_up(run, why)


def is_past_grace_period(run: Run, at: datetime) -> bool:
    """Whether the job should have finished or been killed by this time."""
    limits = limits_of(run)
    if limits.time_limit is None or run.started_at is None:
        return False
    return at - run.started_at >= limits.time_limit + limits.grace


def _is_past_time_limit(run: Run) -> bool:
    limit = limits_of(run).time_limit
    if limit is None or run.started_at is None or run.heartbeat_at is None:
        return False
    return run.heartbeat_at - run.started_at >= limit
