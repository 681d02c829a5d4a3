"""Rescue: a run whose process died ends as lost, and starts again if its job allows that.

A worker that sees its child die records it at once. What no worker saw, the lease finds: a running run whose
heartbeat is too old. Any number of beats may look at the same time; each run is moved by one of them, and one
that another process has locked is left to the next look.

A lease only runs while the rescuer can hear heartbeats. While the database is away or takes no writes, or
the machine is suspended, a run's silence says nothing about it; when the database is back, every run has
the rest of its lease to be heard from.
"""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, QuerySet

from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.models import Reason, Run, Status, Why
from jobledger.runs import attempts, reasons
from jobledger.runs.outcome import Outcome

logger = line_logger(__name__)

BATCH = 100
# A longer pause between two looks is one in which nothing was seen; a busy tick is shorter.
BLIND_PART_OF_A_LEASE = 4


@dataclass(frozen=True, kw_only=True)
class Darkness:
    """A span in which nothing was seen."""

    since: datetime
    until: datetime


class Watch:
    """One process's watch. By the wall clock, which goes on while a machine is suspended, and may be set."""

    def __init__(self, now: datetime) -> None:
        """From now on; of what was before nothing is known."""
        self._seen_at = now
        self._dark: list[Darkness] = []

    def look(self, now: datetime, lease: timedelta) -> datetime:
        """Note that it sees at this moment; returns the moment since which it has seen a whole lease long."""
        if now < self._seen_at:
            self._dark = []  # the clock was set back: the spans of before mean nothing on it
        if now - self._seen_at > lease / BLIND_PART_OF_A_LEASE:
            self._dark.append(Darkness(since=self._seen_at, until=now))
        self._seen_at = now
        begin, left = now, lease
        for number, dark in enumerate(reversed(self._dark)):
            seen = begin - dark.until
            if seen >= left:
                self._dark = self._dark[len(self._dark) - number :]
                break
            begin, left = dark.since, left - seen
        return begin - left


def rescue(now: datetime, watch: Watch) -> int:
    """End the runs without a heartbeat for a lease in which one could have been written; returns how many."""
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
    # The caller has more to do than to wait for a broker that hangs.
    ended = attempts.end(run, outcome, wakes_at_once=False)
    if ended:
        logger.error("Run %s of %s is %s: %s", run.pk, run.job, status, reasons.explained(status, why, error))
    return ended


def _can_be_written(silent: QuerySet[Run]) -> bool:
    """Whether the database takes writes: if it does not, that is why no heartbeat came.

    This may have to wait for a lock; the caller takes the time afterwards.
    """
    with transaction.atomic():
        pk = silent.select_for_update(skip_locked=True).values_list("pk", flat=True).first()
        return pk is not None and Run.objects.filter(pk=pk).update(heartbeat_at=F("heartbeat_at")) == 1


def _give_up_if_stale(stale: QuerySet[Run]) -> bool:
    """End one run, unless it has a new heartbeat by now, or a hanging process has its row locked."""
    with transaction.atomic():
        run = stale.select_for_update(skip_locked=True).first()
        if run is None:
            return False
        why = Why.of(Reason.LOST_HEARTBEAT, worker=run.worker, heartbeat_at=run.heartbeat_at)
        return give_up(run, why)


def is_over_its_grace(run: Run, at: datetime) -> bool:
    """Whether the job should have ended, or been killed, by this time."""
    declared = registry.declaration_of(run.job)
    if declared.time_limit is None or run.started_at is None:
        return False
    return at - run.started_at >= declared.time_limit + declared.time_limit_grace


def _is_over_time(run: Run) -> bool:
    limit = registry.declaration_of(run.job).time_limit
    if limit is None or run.started_at is None or run.heartbeat_at is None:
        return False
    return run.heartbeat_at - run.started_at >= limit
