"""Schedules as a busy service has them: a few every minute, most once a day, in some zones."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle, islice
from zoneinfo import ZoneInfo

from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.models import Pause
from jobledger.schedules.reconciliation import Reconciliation

TASKS = (
    "tasks_app.cleanup_tokens",
    "tasks_app.compute_daily_stats",
    "tasks_app.hello",
    "tasks_app.normalize_emails",
    "sessions.clearsessions",
)
ZONES = ("UTC", "Europe/London", "America/New_York", "Asia/Kolkata")
BATCH = 1000
OFF_IN, BROKEN_IN, PAUSED_IN = 20, 100, 50
"""One schedule in so many is switched off, broken, paused."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often some of the schedules are due."""

    share: int
    """How many of a hundred."""
    every: timedelta
    minute: str
    hour: str


PACES = (
    Pace(share=2, every=timedelta(minutes=1), minute="*", hour="*"),
    Pace(share=8, every=timedelta(minutes=10), minute="{minute}-59/10", hour="*"),
    Pace(share=30, every=timedelta(hours=1), minute="{minute}", hour="*"),
    Pace(share=60, every=timedelta(days=1), minute="{minute}", hour="{hour}"),
)


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """A schedule that was made."""

    pk: int
    name: str
    job: str
    every: timedelta


def make(count: int) -> list[Seeded]:
    """Put so many schedules into the database, each with its next slot."""
    crontabs = _crontabs()
    quarter = IntervalSchedule.objects.create(every=15, period=IntervalSchedule.MINUTES)
    paces = list(islice(cycle(_hundred()), count))
    PeriodicTask.objects.bulk_create(
        (_schedule(number, pace, crontabs, quarter) for number, pace in enumerate(paces)), batch_size=BATCH
    )
    reconciliation = Reconciliation()
    while not reconciliation.step():
        pass
    _pause_some()
    rows = PeriodicTask.objects.order_by("pk").values_list("pk", "name", "task")
    return [
        Seeded(pk=pk, name=name, job=task.rpartition(".")[2], every=pace.every)
        for (pk, name, task), pace in zip(rows, paces, strict=True)
    ]


def _hundred() -> Iterator[Pace]:
    for pace in PACES:
        yield from [pace] * pace.share


def _crontabs() -> dict[Pace, list[CrontabSchedule]]:
    """Some of each pace, which the schedules share."""
    return {
        pace: CrontabSchedule.objects.bulk_create(
            CrontabSchedule(
                minute=pace.minute.format(minute=number % 10 if "/" in pace.minute else number * 7 % 60),
                hour=pace.hour.format(hour=number % 24),
                timezone=ZoneInfo(ZONES[number % len(ZONES)]),
            )
            for number in range(20)
        )
        for pace in PACES
    }


def _schedule(
    number: int, pace: Pace, crontabs: dict[Pace, list[CrontabSchedule]], quarter: IntervalSchedule
) -> PeriodicTask:
    is_interval = number % 10 == 9
    return PeriodicTask(
        name=f"seeded {number:05}",
        task=TASKS[number % len(TASKS)],
        description=f"Number {number} of the schedules to measure with.",
        kwargs="[]" if number % BROKEN_IN == BROKEN_IN - 1 else "{}",
        enabled=number % OFF_IN != OFF_IN - 1 or number % BROKEN_IN == BROKEN_IN - 1,
        crontab=None if is_interval else crontabs[pace][number % 20],
        interval=quarter if is_interval else None,
    )


def _pause_some() -> None:
    paused = PeriodicTask.objects.order_by("pk").values_list("pk", flat=True)[::PAUSED_IN]
    now = timezone.now()
    Pause.objects.bulk_create(
        Pause(schedule_id=pk, since=now, until=now + timedelta(days=1), reason="Measuring.", who="seed")
        for pk in paused
    )
