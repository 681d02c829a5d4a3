"""Schedules for the measurements: many that share a few crontabs, which is typical."""

from itertools import cycle, islice

from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connection
from django.db.models import Max
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from benchmarks.seed import bulk

TASK = "tasks_app.cleanup_tokens"
BATCH = 1000
QUIET_MINUTES = 30
"""None of the schedules is due during this time, which is long enough for a measurement."""


def fill(size: int, *, is_due_together: bool) -> None:
    """Fill the database with this many schedules and nothing else."""
    # Deleting them one by one, with signals, would take longer than everything else.
    call_command("flush", interactive=False, verbosity=0)
    PeriodicTask.objects.all().delete()
    minutes = _every_minute() if is_due_together else _later_minutes()
    CrontabSchedule.objects.bulk_create(CrontabSchedule(minute=minute) for minute in minutes)
    crontabs = islice(cycle(CrontabSchedule.objects.all()), size)
    schedules = (
        PeriodicTask(name=f"schedule {number}", task=TASK, kwargs='{"days": 30}', crontab=crontab)
        for number, crontab in enumerate(crontabs)
    )
    PeriodicTask.objects.bulk_create(schedules, batch_size=BATCH)


def multiply(copies: int) -> None:
    """Have the database copy each schedule this many times, with its policy and its next slot.

    A million take a minute or two. As model instances, they would take an hour.
    """
    # With the stock scheduler, whose schedules are also from here, the service is not installed.
    from jobledger.models import NextSlot, SchedulePolicy

    step = PeriodicTask.objects.aggregate(last=Max("pk"))["last"]
    name = "name || ' of copy ' || number"
    bulk.copy(PeriodicTask, copies, {"id": f"id + number * {step}", "name": name})
    for model in (SchedulePolicy, NextSlot):
        bulk.copy(model, copies, {"schedule_id": f"schedule_id + number * {step}"})
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [PeriodicTask]):
            cursor.execute(statement)


def analyze() -> None:
    """Do what PostgreSQL's autovacuum would do within a minute. Nothing in a transaction, where it cannot."""
    if connection.vendor == "postgresql" and not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _later_minutes() -> list[str]:
    now = timezone.now().minute
    return [str((now + ahead) % 60) for ahead in range(QUIET_MINUTES, 60)]


def _every_minute() -> list[str]:
    """Different expressions for every minute, so that no scheduler benefits from identical schedules."""
    return [f"0-{minute},{minute + 1}-59" for minute in range(59)]
