"""Schedules declared in code: created in the database once, and edited there from then on.

Their times are validated like those from the admin and the command line. A ``DeclaredSchedule`` row keeps
track of each one, so that a schedule that was edited, disabled or deleted stays that way.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django_celery_beat.models import PeriodicTask

from jobledger.jobs import options, registry, secrets
from jobledger.jobs.declaration import Schedule
from jobledger.models import DeclaredSchedule
from jobledger.schedules import stored_schedules
from jobledger.schedules.rules.slots import RuleError
from jobledger.schedules.rules.wallclock import EARLIEST, zone_named
from jobledger.schedules.stored_schedules import CronTimes, IntervalTimes, StoredTimes

SECOND = timedelta(seconds=1)


class DeclarationError(ValueError):
    """An invalid declared schedule; the message says which one, and why."""


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A schedule as a job declares it."""

    job: registry.Job
    schedule: Schedule

    @property
    def name(self) -> str:
        """The schedule's name in the database."""
        return self.schedule.name or self.job.name

    def times(self) -> StoredTimes:
        """When it is due. Raises RuleError if that cannot be evaluated."""
        times = _times(self.schedule)
        stored_schedules.validated(times, EARLIEST)
        return times

    def as_json(self) -> dict[str, Any]:
        """The declaration, to compare it with later versions of the code."""
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
    """Yield every declared schedule. Anything but a list of schedules is left to the system check."""
    for job in registry.all_jobs().values():
        schedules: object = job.declaration.schedules
        for schedule in schedules if isinstance(schedules, list | tuple) else ():
            if isinstance(schedule, Schedule):
                yield Declared(job=job, schedule=schedule)


def problems(declared: Declared) -> Iterator[str]:
    """Yield what is wrong with the schedule's times and options. Runs no query."""
    try:
        declared.times()
    except RuleError as error:
        yield str(error)
    try:
        parser = declared.job.create_validating_parser()
        options.validate_options(parser, declared.schedule.options)
    except options.OptionsError as error:
        yield secrets.without_secrets(declared.job.name, declared.schedule.options, str(error))


def install() -> list[str]:
    """Create the declared schedules that were never created before; returns their names.

    Safe to call from several processes at once. An existing schedule of the same name is left alone
    and counts as installed. Raises DeclarationError.
    """
    return [declared.name for declared in all_declared() if _install(declared)]


@transaction.atomic
def _install(declared: Declared) -> bool:
    _, is_new = DeclaredSchedule.objects.get_or_create(
        name=declared.name, defaults={"declared": declared.as_json()}
    )
    if not is_new or PeriodicTask.objects.filter(name=declared.name).exists():
        return False
    schedule = PeriodicTask(
        name=declared.name,
        task=declared.job.task_name,
        kwargs=json.dumps(declared.schedule.options),
        enabled=declared.schedule.enabled,
        description=declared.job.help,
    )
    try:
        stored_schedules.assign(schedule, declared.times())
    except RuleError as error:
        raise DeclarationError(f"schedule {declared.name!r} of job {declared.job.name}: {error}") from error
    schedule.save()
    DeclaredSchedule.objects.filter(name=declared.name).update(schedule=schedule)
    return True


def _times(schedule: Schedule) -> StoredTimes:
    match schedule:
        case Schedule(cron=str(expression), every=None):
            return CronTimes(expression=expression, zone=zone_named(schedule.timezone or settings.TIME_ZONE))
        case Schedule(cron=None, every=timedelta() as every) if every > timedelta(0) and not every % SECOND:
            return IntervalTimes(every=every // SECOND, period="seconds")
    raise RuleError("exactly one of `cron` and `every` is required, and `every` must be in whole seconds")
