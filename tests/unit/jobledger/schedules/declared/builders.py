"""Declares schedules of the job ``plain_probe``, and applies them."""

from collections.abc import Iterable
from contextlib import ExitStack
from unittest.mock import patch

from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.jobs import registry
from jobledger.jobs.declaration import Schedule
from jobledger.schedules.declared.outcomes import Action, Outcome
from jobledger.schedules.declared.sync import sync
from tests.unit.builders import override

JOB = "plain_probe"


def declare(settings: Settings, *schedules: Schedule) -> None:
    """Declare these schedules of the job, and no others."""
    override(settings, EXPOSED_COMMANDS={JOB: {"schedules": list(schedules)}})


def applied(settings: Settings, *schedules: Schedule) -> list[Outcome]:
    """Declare and apply these schedules; returns the outcomes of the job's.

    Those of the sample jobs, which would take longer than the rest of a test, are not applied.
    """
    declare(settings, *schedules)
    with ExitStack() as stack:
        for job in registry.all_jobs().values():
            if job.name != JOB and job.declaration.schedules:
                stack.enter_context(patch.object(job.declaration, "schedules", ()))
        return of_job(sync())


def all_applied(settings: Settings, *schedules: Schedule) -> None:
    """Declare these schedules, and apply them and those of the sample jobs."""
    declare(settings, *schedules)
    sync()


def of_job(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if each.job == JOB]


def actions(outcomes: Iterable[Outcome]) -> dict[str, Action]:
    return {each.name: each.action for each in outcomes}


def stored(name: str = JOB) -> PeriodicTask:
    return PeriodicTask.objects.get(name=name)
