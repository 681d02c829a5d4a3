"""Schedules to measure with: many, sharing some crontabs, as the admin and most people make them."""

from itertools import cycle, islice

from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

TASK = "tasks_app.cleanup_tokens"
BATCH = 1000
MINUTES_OF_PEACE = 30
"""Long enough for a measurement: in this time none of the schedules is due."""


def fill(size: int, *, is_due_together: bool) -> None:
    """Put so many schedules, and nothing else, into the database."""
    # Deleting them one by one, with a signal for each, would take longer than all else.
    call_command("flush", interactive=False, verbosity=0)
    PeriodicTask.objects.all().delete()
    minutes = _every_minute() if is_due_together else _minutes_to_come()
    CrontabSchedule.objects.bulk_create(CrontabSchedule(minute=minute) for minute in minutes)
    crontabs = islice(cycle(CrontabSchedule.objects.all()), size)
    schedules = (
        PeriodicTask(name=f"schedule {number}", task=TASK, kwargs='{"days": 30}', crontab=crontab)
        for number, crontab in enumerate(crontabs)
    )
    PeriodicTask.objects.bulk_create(schedules, batch_size=BATCH)


def analyze() -> None:
    """What PostgreSQL's autovacuum does by itself within a minute."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE")


def _minutes_to_come() -> list[str]:
    now = timezone.now().minute
    return [str((now + ahead) % 60) for ahead in range(MINUTES_OF_PEACE, 60)]


def _every_minute() -> list[str]:
    """Many ways to write it, so that nobody profits from schedules that are all the same."""
    return [f"0-{minute},{minute + 1}-59" for minute in range(59)]
