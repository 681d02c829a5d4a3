"""Stores the schedules of a reviewed crontab: all of them, or none."""

import json
from collections import Counter
from collections.abc import Iterable

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django_celery_beat.models import PeriodicTask

from jobledger.alerts.default_rule import LATE_AFTER
from jobledger.crontab import history
from jobledger.crontab.findings import Finding, Outcome, Plan
from jobledger.models import AlertDestination, AlertRule, DestinationKind, SchedulePolicy
from jobledger.schedules import stored_schedules

_MAX_NAME_LENGTH = 100


class ConflictError(Exception):
    """Since the review, somebody has created a schedule or a rule of the same name."""


def store(findings: Iterable[Finding]) -> int:
    """Create the new schedules and their alert rules; returns how many schedules. Raises ConflictError."""
    planned = [each for each in findings if each.plan and each.outcome is not Outcome.DUPLICATE]
    plans = [each.plan for each in planned if each.outcome is Outcome.NEW and each.plan]
    counts = Counter(each.plan.meaning[:2] for each in planned if each.plan)
    try:
        with transaction.atomic():
            for plan in plans:
                schedule = _store(plan)
                history.take_over(plan, schedule, by_time=counts[plan.meaning[:2]] > 1)
    except (IntegrityError, ValidationError) as error:
        raise ConflictError(str(error)) from error
    return len(plans)


def _store(plan: Plan) -> PeriodicTask:
    schedule = PeriodicTask(
        name=plan.name,
        task=plan.target.job.task_name,
        kwargs=json.dumps(plan.target.options),
        description=plan.description or plan.target.job.help,
    )
    stored_schedules.assign(schedule, plan.times)
    schedule.save()
    if plan.concurrency is not None:
        SchedulePolicy.objects.filter(schedule=schedule).update(concurrency=plan.concurrency)
    if plan.mail:
        rule = AlertRule.objects.create(
            name=_free_name(AlertRule, f"MAILTO of {plan.name}"), schedule=schedule, late_after=LATE_AFTER
        )
        rule.destinations.add(_destination(plan.mail))
    return schedule


def _destination(addresses: tuple[str, ...]) -> AlertDestination:
    """The destination with just these addresses; a new one if there is none."""
    for each in AlertDestination.objects.filter(kind=DestinationKind.MAIL).order_by("pk"):
        if set(each.mail_addresses) == set(addresses):
            return each
    name = _free_name(AlertDestination, ", ".join(addresses))
    return AlertDestination.objects.create(
        name=name, kind=DestinationKind.MAIL, addresses=", ".join(addresses)
    )


def _free_name(model: type[AlertDestination] | type[AlertRule], wanted: str) -> str:
    name, number = wanted[:_MAX_NAME_LENGTH], 1
    while model._default_manager.filter(name=name).exists():
        number += 1
        suffix = f" ({number})"
        name = wanted[: _MAX_NAME_LENGTH - len(suffix)] + suffix
    return name
