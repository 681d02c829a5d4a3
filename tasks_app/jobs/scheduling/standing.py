"""What stands now: a stored schedule's times, and how far the ledger has come with them."""

from django.db import DatabaseError
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.models import NextSlot, SchedulePolicy
from tasks_app.jobs.scheduling import timing
from tasks_app.jobs.scheduling.preview import Standing, Times


def standing_of(schedule_id: int) -> Standing | None:
    """Of one schedule; None where there is none that can be evaluated."""
    try:
        schedule = timing.timed(PeriodicTask.objects.filter(pk=schedule_id)).first()
        return _standing(schedule) if schedule else None
    except DatabaseError:
        raise
    except Exception:  # noqa: BLE001 - whatever is wrong with it is said where it is shown, and mended here
        return None


def _standing(schedule: PeriodicTask) -> Standing:
    policy = getattr(schedule, "policy", None) or SchedulePolicy(schedule=schedule)
    row = NextSlot.objects.filter(pk=schedule.pk).first()
    times = Times(
        rule=timing.rule_of(schedule, policy),
        window=timing.window_of(schedule),
        policy=timing.policy_of(policy),
        enabled=schedule.enabled,
    )
    if row is None:
        return Standing(times=times, schedule_id=schedule.pk)
    return Standing(
        times=times,
        schedule_id=schedule.pk,
        handled_until=row.handled_until,
        slot=row.slot,
        due_at=row.due_at,
    )
