"""Rescue: runs whose process died end as lost, and start again where their job bears it.

A worker that sees its child die says so at once. What nobody saw is found by the lease: a run whose heartbeat
is older than it. Any number of beats may look at once: each run is moved by one of them. A run that somebody
else has locked at the moment is left to the next look.
"""

import logging
import time
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet

from jobledger.jobs import registry
from jobledger.models import Reason, Run, Status, Why
from jobledger.runs import attempts, reasons
from jobledger.runs.lease.watch import Watch
from jobledger.runs.outcome import Outcome

logger = logging.getLogger(__name__)

BATCH = 100


def rescue(now: datetime, watch: Watch) -> int:
    """End the runs that were silent for a lease in which they could have been heard; returns how many."""
    began = time.monotonic()
    lease = timedelta(seconds=settings.LEASE_SECONDS)
    silent = Run.objects.filter(status=Status.RUNNING, heartbeat_at__lt=now - lease / 4)
    if not silent.exists():
        watch.look(now, lease)
        return 0
    if not _can_be_written(silent):
        return 0
    limit = watch.look(now + timedelta(seconds=time.monotonic() - began), lease)
    stale = silent.filter(heartbeat_at__lt=limit)
    pks = list(stale.order_by("heartbeat_at").values_list("pk", flat=True)[:BATCH])
    return sum(_give_up_if_stale(stale.filter(pk=pk)) for pk in pks)


def give_up(run: Run, why: Why, *, error: str = "", timed_out: bool = False) -> bool:
    """End one run whose process is gone."""
    status = Status.TIMED_OUT if timed_out or _is_over_time(run) else Status.LOST
    outcome = Outcome(status=status, why=why, exit_code=None, error=error)
    # Who calls this has more to do than to wait for a broker that hangs.
    ended = attempts.end(run, outcome, wakes_at_once=False)
    if ended:
        logger.error("Run %s of %s is %s: %s", run.pk, run.job, status, reasons.explained(status, why, error))
    return ended


def _can_be_written(silent: QuerySet[Run]) -> bool:
    """Whether a heartbeat could be: a database that can only be read has the silence to answer for.

    Where one must wait for that, the moment after it counts.
    """
    with transaction.atomic():
        pk = silent.select_for_update(skip_locked=True).values_list("pk", flat=True).first()
        return pk is not None and Run.objects.filter(pk=pk).update(heartbeat_at=F("heartbeat_at")) == 1


def _give_up_if_stale(stale: QuerySet[Run]) -> bool:
    """End one run, unless it was heard of meanwhile, or a process that hangs has its row locked."""
    with transaction.atomic():
        run = stale.select_for_update(skip_locked=True).first()
        if run is None:
            return False
        why = Why.of(Reason.LOST_HEARTBEAT, worker=run.worker, heartbeat_at=run.heartbeat_at)
        return give_up(run, why)


def is_over_its_grace(run: Run, at: datetime) -> bool:
    """Whether the job should have been ended by this moment, softly or hard."""
    declared = registry.declaration_of(run.job)
    if declared.time_limit is None or run.started_at is None:
        return False
    return at - run.started_at >= declared.time_limit + declared.time_limit_grace


def _is_over_time(run: Run) -> bool:
    limit = registry.declaration_of(run.job).time_limit
    if limit is None or run.started_at is None or run.heartbeat_at is None:
        return False
    return run.heartbeat_at - run.started_at >= limit
