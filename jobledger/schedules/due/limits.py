"""Limits how many runs of jobs that allow overlap are queued or running."""

from collections import Counter
from collections.abc import Sequence

from django.db.models import Count

from jobledger.models import LIVE, Reason, Run, Status, Trigger, Why
from jobledger.schedules.due import slot_runs
from jobledger.schedules.due.backlog import Backlog, kept_in_backlog


def skip_above_limits(runs: Sequence[Run], backlog: Backlog) -> None:
    """Skip slots of jobs that allow overlap, if too many runs are already queued or running.

    A backfill's runs are not counted, since they must not keep others from running. Neither are the runs of
    this batch, and of others for the same times, so that neither schedules that are due together nor a
    schedule that catches up are cut off halfway, nor those that give way to them, nor those that wait because
    their policy starts each missed run: the catch-up limit is theirs.
    """
    overlapping = [run for run in runs if run.status == Status.QUEUED and _may_overlap(run)]
    if not overlapping:
        return
    # Not filtered by schedule: then the database might scan all of their runs.
    counted = Run.objects.filter(status__in=LIVE).exclude(trigger=Trigger.BACKFILL)
    if times := [run.scheduled_for for run in overlapping if run.scheduled_for is not None]:
        counted = counted.exclude(scheduled_for__range=(min(times), max(times)))
    groups = counted.order_by().values_list("schedule", "job")
    of_schedule, of_job = Counter[int | None](), Counter[str]()
    for schedule_id, job, count in groups.annotate(count=Count("pk")):
        of_schedule[schedule_id] += count
        of_job[job] += count
    of_schedule.subtract(backlog.given_up_of_schedules())
    of_job.subtract(backlog.given_up_of_jobs())
    if any(_too_many(run, of_schedule, of_job) for run in overlapping):
        for schedule_id, job, count in kept_in_backlog():
            of_schedule[schedule_id] -= count
            of_job[job] -= count
    for run in overlapping:
        if why := _too_many(run, of_schedule, of_job):
            slot_runs.skip(run, why)


def _too_many(run: Run, of_schedule: Counter[int | None], of_job: Counter[str]) -> Why | None:
    """Why the run of a slot is one too many; None if it is not."""
    own_limit, job_limit = slot_runs.live_limits(run.schedule, run.job)
    if (live := of_schedule[run.schedule_id]) >= own_limit:
        return Why.of(Reason.TOO_MANY_LIVE, live=live, limit=own_limit)
    if (live := of_job[run.job]) >= job_limit:
        return Why.of(Reason.TOO_MANY_LIVE, job=run.job, live=live, limit=job_limit)
    return None


def _may_overlap(run: Run) -> bool:
    """Whether limits apply to it. Not to ordinary tasks, which nothing keeps from overlapping."""
    return run.schedule is not None and slot_runs.may_overlap(run.schedule, run.job)
