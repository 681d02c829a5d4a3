"""Declares schedules of the job ``plain_probe``, and applies them."""

from collections.abc import Iterable

from django_celery_beat.models import PeriodicTask
from pytest_django import Settings

from jobledger.jobs.declaration import Schedule
from jobledger.schedules.declared.sync import Action, Outcome, sync
from tests.unit.builders import override

JOB = "plain_probe"


def declare(settings: Settings, *schedules: Schedule) -> None:
    """Declare these schedules of the job, and no others."""
    override(settings, EXPOSED_COMMANDS={JOB: {"schedules": list(schedules)}})


def applied(settings: Settings, *schedules: Schedule) -> list[Outcome]:
    """Declare and apply these schedules; returns the outcomes of the job's."""
    declare(settings, *schedules)
    return of_job(sync())


def of_job(outcomes: Iterable[Outcome]) -> list[Outcome]:
    return [each for each in outcomes if each.job == JOB]


def actions(outcomes: Iterable[Outcome]) -> dict[str, Action]:
    return {each.name: each.action for each in outcomes}


def stored(name: str = JOB) -> PeriodicTask:
    return PeriodicTask.objects.get(name=name)
