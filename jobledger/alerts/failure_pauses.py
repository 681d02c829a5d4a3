"""Pauses a schedule after too many failed runs in a row, if it or its job asks for that."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Max, QuerySet

from jobledger.formats import MAX_DURATION
from jobledger.jobs import registry
from jobledger.models import COMPLETED, FAILURES, Pause, Run, SchedulePolicy, Trigger


@dataclass(frozen=True, kw_only=True)
class FailurePause:
    """A pause that has just begun."""

    pause_id: int
    failures: int
    until: datetime | None


def pause_if_failing(run: Run, now: datetime) -> FailurePause | None:
    """Pause the schedule of a run that has just failed; None if that is not asked for, or not yet due.

    To be called in the transaction in which the run ends. Failures from before an earlier pause do not count.
    """
    if run.schedule_id is None:
        return None
    policy = SchedulePolicy.objects.filter(pk=run.schedule_id).first()
    limit, length = _terms(run.job, policy)
    if not limit:
        return None
    # Runs of a schedule may overlap: only one of them may begin the pause.
    SchedulePolicy.objects.select_for_update().filter(pk=run.schedule_id).first()
    pauses = Pause.objects.filter(schedule=run.schedule_id, since__lte=now)
    if pauses.active_at(now).exists():
        return None
    resumed_at = pauses.aggregate(latest=Max("until"))["latest"]
    if not _have_failed(run.schedule_id, limit, resumed_at):
        return None
    # A negative length, which no form accepts, is none.
    until = now + min(length, MAX_DURATION) if length and length > timedelta(0) else None
    reason = "its last run failed" if limit == 1 else f"its last {limit} runs failed"
    pause = Pause.objects.create(schedule_id=run.schedule_id, since=now, until=until, reason=reason)
    return FailurePause(pause_id=pause.pk, failures=limit, until=until)


def deciding_runs(job: str, schedule_id: int) -> QuerySet[Run, Any]:
    """The keys of the runs that the next failure of the schedule is counted with."""
    limit, _ = _terms(job, SchedulePolicy.objects.filter(pk=schedule_id).first())
    return _completed(schedule_id).values_list("pk", flat=True)[: limit or 0]


def _terms(job: str, policy: SchedulePolicy | None) -> tuple[int | None, timedelta | None]:
    """After how many failures, and for how long. What the schedule says overrides what the job declares."""
    declared = registry.declaration_of(job)
    if policy is not None and policy.pause_after_failures is not None:
        return policy.pause_after_failures, policy.failure_pause
    return declared.pause_after_failures, declared.failure_pause


def _have_failed(schedule_id: int, limit: int, since: datetime | None) -> bool:
    runs = _completed(schedule_id)
    if since is not None:
        runs = runs.filter(queued_at__gte=since)
    last = list(runs.values_list("status", flat=True)[:limit])
    return len(last) == limit and all(status in FAILURES for status in last)


def _completed(schedule_id: int) -> QuerySet[Run]:
    runs = Run.objects.newest_of_schedule(schedule_id).that_ended(*COMPLETED)
    return runs.exclude(trigger=Trigger.BACKFILL).order_by("schedule_id", "-queued_at", "-pk")
