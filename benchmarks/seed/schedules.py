"""The schedules of a busy service: a few are due every minute, most once a day, in several zones."""

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
DISABLED_EVERY, BROKEN_EVERY, PAUSED_EVERY = 20, 100, 50
"""Every nth schedule is disabled, broken or paused."""


@dataclass(frozen=True, kw_only=True)
class Frequency:
    """How often some of the schedules are due."""

    share: int
    """The percentage of schedules."""
    every: timedelta
    minute: str
    hour: str


FREQUENCIES = (
    Frequency(share=2, every=timedelta(minutes=1), minute="*", hour="*"),
    Frequency(share=8, every=timedelta(minutes=10), minute="{minute}-59/10", hour="*"),
    Frequency(share=30, every=timedelta(hours=1), minute="{minute}", hour="*"),
    Frequency(share=60, every=timedelta(days=1), minute="{minute}", hour="{hour}"),
)


@dataclass(frozen=True, kw_only=True)
class Seeded:
    """A schedule that was created."""

    pk: int
    name: str
    job: str
    every: timedelta


def make(count: int) -> list[Seeded]:
    """Create this many schedules, each with its next slot."""
    crontabs = _crontabs()
    quarter = IntervalSchedule.objects.create(every=15, period=IntervalSchedule.MINUTES)
    frequencies = list(islice(cycle(_hundred()), count))
    PeriodicTask.objects.bulk_create(
        (_schedule(number, each, crontabs, quarter) for number, each in enumerate(frequencies)),
        batch_size=BATCH,
    )
    reconciliation = Reconciliation()
    while not reconciliation.step():
        pass
    _pause_some()
    rows = PeriodicTask.objects.order_by("pk").values_list("pk", "name", "task")
    return [
        Seeded(pk=pk, name=name, job=task.rpartition(".")[2], every=each.every)
        for (pk, name, task), each in zip(rows, frequencies, strict=True)
    ]


def _hundred() -> Iterator[Frequency]:
    for frequency in FREQUENCIES:
        yield from [frequency] * frequency.share


def _crontabs() -> dict[Frequency, list[CrontabSchedule]]:
    """Some crontabs of each frequency, to be shared by the schedules."""
    return {
        each: CrontabSchedule.objects.bulk_create(
            CrontabSchedule(
                minute=each.minute.format(minute=number % 10 if "/" in each.minute else number * 7 % 60),
                hour=each.hour.format(hour=number % 24),
                timezone=ZoneInfo(ZONES[number % len(ZONES)]),
            )
            for number in range(20)
        )
        for each in FREQUENCIES
    }


def _schedule(
    number: int,
    frequency: Frequency,
    crontabs: dict[Frequency, list[CrontabSchedule]],
    quarter: IntervalSchedule,
) -> PeriodicTask:
    is_interval = number % 10 == 9
    return PeriodicTask(
        name=f"seeded {number:05}",
        task=TASKS[number % len(TASKS)],
        description=f"Benchmark schedule number {number}.",
        kwargs="[]" if number % BROKEN_EVERY == BROKEN_EVERY - 1 else "{}",
        enabled=number % DISABLED_EVERY != DISABLED_EVERY - 1 or number % BROKEN_EVERY == BROKEN_EVERY - 1,
        crontab=None if is_interval else crontabs[frequency][number % 20],
        interval=quarter if is_interval else None,
    )


def _pause_some() -> None:
    paused = PeriodicTask.objects.order_by("pk").values_list("pk", flat=True)[::PAUSED_EVERY]
    now = timezone.now()
    Pause.objects.bulk_create(
        Pause(schedule_id=pk, since=now, until=now + timedelta(days=1), reason="Measuring.", username="seed")
        for pk in paused
    )
