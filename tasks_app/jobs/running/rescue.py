"""Rescue: runs whose process died end as lost, and start again where their job bears it.

A worker that sees its child die says so at once. What nobody saw is found by the lease: a run whose heartbeat
is older than it. Any number of beats may look at once: each run is moved by one of them.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings

from tasks_app.jobs.defining import registry
from tasks_app.jobs.models import Run, Status
from tasks_app.jobs.running import attempts
from tasks_app.jobs.running.outcome import Outcome

logger = logging.getLogger(__name__)

BATCH = 100


def rescue(now: datetime) -> int:
    """End the runs whose lease has run out; returns how many."""
    limit = now - timedelta(seconds=settings.LEASE_SECONDS)
    stale = Run.objects.filter(status=Status.RUNNING, heartbeat_at__lt=limit).order_by("heartbeat_at")
    return sum(give_up(run, _silent(run)) for run in stale[:BATCH])


def give_up(run: Run, reason: str, *, timed_out: bool = False) -> bool:
    """End one run whose process is gone."""
    status = Status.TIMED_OUT if timed_out or _is_over_time(run) else Status.LOST
    ended = attempts.end(run, Outcome(status=status, exit_code=None, error=reason))
    if ended:
        logger.error("Run %s of %s is %s: %s", run.pk, run.job, status, reason)
    return ended


def _silent(run: Run) -> str:
    heard = run.heartbeat_at.isoformat(timespec="seconds") if run.heartbeat_at else "never"
    return f"Its process ({run.worker}) was last heard of at {heard}."


def _is_over_time(run: Run) -> bool:
    job = registry.all_jobs().get(run.job)
    limit = job.declaration.time_limit if job else None
    if limit is None or run.started_at is None or run.heartbeat_at is None:
        return False
    return run.heartbeat_at - run.started_at >= limit
