"""Schedules declared in code: put into the database once, and edited there from then on.

A ``DeclaredSchedule`` row remembers each one, so a schedule that somebody edited, switched off or
deleted stays as that person left it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from jobledger.jobs import options, registry, secrets
from jobledger.jobs.declaration import Schedule
from jobledger.models import DeclaredSchedule

SECOND = timedelta(seconds=1)


class DeclarationError(ValueError):
    """A declared schedule that cannot be one; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A schedule as a job declares it."""

    job: registry.Job
    schedule: Schedule

    @property
    def name(self) -> str:
        """The schedule's name in the database."""
        return self.schedule.name or self.job.name

    def as_json(self) -> dict[str, Any]:
        """What the code says, for comparing it with what it says later."""
        schedule = self.schedule
        return {
            "job": self.job.name,
            "cron": schedule.cron,
            "every_seconds": schedule.every and schedule.every.total_seconds(),
            "timezone": schedule.timezone,
            "options": dict(schedule.options),
            "enabled": schedule.enabled,
        }


def all_declared() -> Iterator[Declared]:
    """Every schedule that a job declares."""
    for job in registry.all_jobs().values():
        for schedule in job.declaration.schedules:
            yield Declared(job=job, schedule=schedule)


def problems(declared: Declared) -> Iterator[str]:
    """What is wrong with a declared schedule: its timing, its zone, its options. No query."""
    schedule = declared.schedule
    try:
        timing = _timing(schedule)
        timing.clean_fields()
    except (DeclarationError, ValidationError) as error:
        yield "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
    try:
        options.parse(declared.job.create_parser(), schedule.options)
    except options.OptionsError as error:
        yield secrets.without_secrets(declared.job.name, schedule.options, str(error))


def install() -> list[str]:
    """Put in the declared schedules that were never put in before; returns their names.

    Any number of processes may call it at once. A schedule of that name that people made
    themselves is left alone and counts as installed. Raises DeclarationError.
    """
    return [declared.name for declared in all_declared() if _install(declared)]


@transaction.atomic
def _install(declared: Declared) -> bool:
    _, is_new = DeclaredSchedule.objects.get_or_create(
        name=declared.name, defaults={"declared": declared.as_json()}
    )
    if not is_new or PeriodicTask.objects.filter(name=declared.name).exists():
        return False
    timing = _timing(declared.schedule)
    timing.save()
    schedule = PeriodicTask.objects.create(
        name=declared.name,
        task=declared.job.task_name,
        kwargs=json.dumps(declared.schedule.options),
        enabled=declared.schedule.enabled,
        description=declared.job.help,
        crontab=timing if isinstance(timing, CrontabSchedule) else None,
        interval=timing if isinstance(timing, IntervalSchedule) else None,
    )
    DeclaredSchedule.objects.filter(name=declared.name).update(schedule=schedule)
    return True


def _timing(schedule: Schedule) -> CrontabSchedule | IntervalSchedule:
    """The schedule's timing as a new row, not saved: rows that schedules share move together when edited."""
    match schedule:
        case Schedule(cron=str(expression), every=None):
            return _crontab(expression, schedule.timezone or settings.TIME_ZONE)
        case Schedule(cron=None, every=timedelta() as every) if every > timedelta(0) and not every % SECOND:
            return IntervalSchedule(every=every // SECOND, period=IntervalSchedule.SECONDS)
    raise DeclarationError("it needs either `cron` or `every`, and `every` in whole seconds")


def _crontab(expression: str, zone: str) -> CrontabSchedule:
    fields = expression.split()
    if len(fields) != 5:
        raise DeclarationError(f"{expression!r} is no cron expression: it has {len(fields)} fields, not 5")
    try:
        parsed_zone = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise DeclarationError(f"there is no time zone {zone!r}") from error
    minute, hour, day_of_month, month_of_year, day_of_week = fields
    return CrontabSchedule(
        minute=minute,
        hour=hour,
        day_of_month=day_of_month,
        month_of_year=month_of_year,
        day_of_week=day_of_week,
        timezone=parsed_zone,
    )
