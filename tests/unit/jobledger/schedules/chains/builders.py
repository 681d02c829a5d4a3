"""Schedules that start after others, and runs of these."""

from datetime import datetime
from typing import Any

from django_celery_beat.models import PeriodicTask

from jobledger.models import NextSlot, Predecessor, Run, SchedulePolicy, Status, Trigger
from jobledger.schedules import stored_schedules
from jobledger.schedules.chains import links
from jobledger.schedules.due import ledger
from jobledger.schedules.stored_times import ChainTimes, after_of


def follower(
    *after: str, since: datetime, name: str = "follower", after_failure: bool = False, **values: Any
) -> PeriodicTask:
    """A schedule of the job ``probe`` that starts after these, and counts what is due after ``since``."""
    times = ChainTimes(after=tuple(sorted(after)), after_failure=after_failure)
    schedule = PeriodicTask(**{"name": name, "task": "probes.probe", **values})
    stored_schedules.assign(schedule, times)
    schedule.save()
    links.assign(schedule.pk, times.after, since)
    SchedulePolicy.objects.filter(schedule=schedule).update(after=after_of(times))
    ledger.sync([schedule.pk], since)
    Predecessor.objects.filter(follower=schedule).update(counted_until=since)
    NextSlot.objects.filter(schedule=schedule).update(handled_until=since)
    return PeriodicTask.objects.get(pk=schedule.pk)


def ended(schedule: PeriodicTask, slot: datetime, status: Status = Status.SUCCEEDED, **values: Any) -> Run:
    """A run of the schedule for this slot, which has ended with the status."""
    times = {"queued_at": slot, "started_at": slot, "finished_at": slot, "scheduled_for": slot}
    return Run.objects.create(
        **{
            "job": "probe",
            "schedule": schedule,
            "schedule_name": schedule.name,
            "trigger": Trigger.SCHEDULE,
            "status": status,
            **times,
            **values,
        }
    )
