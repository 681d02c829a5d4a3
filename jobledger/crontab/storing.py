"""Stores the schedules of a reviewed crontab: all of them, or none."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django_celery_beat.models import PeriodicTask

from jobledger.alerts.default_rule import LATE_AFTER
from jobledger.crontab import history
from jobledger.crontab.findings import Finding, Outcome, Plan
from jobledger.models import AlertDestination, AlertRule, DestinationKind, SchedulePolicy
from jobledger.schedules import audit, stored_schedules

_MAX_NAME_LENGTH = 100


class ConflictError(Exception):
    """Since the review, somebody has created a schedule or a rule of the same name."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What has been stored."""

    schedules: int
    runs: int
    """How many runs of cron were linked to the schedules of their lines."""


def store(findings: Iterable[Finding]) -> Stored:
    """Create the new schedules and their alert rules, and give all schedules of the crontab its runs.

    Raises ConflictError.
    """
    try:
        with transaction.atomic():
            count, candidates = 0, []
            for each in findings:
                if each.plan is None or each.outcome is Outcome.DUPLICATE:
                    continue
                how = f"from line {each.line.number} of a crontab"
                schedule = _store(each.plan, how) if each.outcome is Outcome.NEW else _existing(each)
                count += each.outcome is Outcome.NEW
                candidates.append(history.Candidate(plan=each.plan, schedule=schedule))
            return Stored(schedules=count, runs=history.take_over(candidates))
    except (IntegrityError, ValidationError) as error:
        raise ConflictError(str(error)) from error


def _existing(finding: Finding) -> PeriodicTask | None:
    """The schedule that the line is already, or that was made of it and edited since."""
    named = PeriodicTask.objects.filter(name=finding.schedule)
    if finding.outcome is Outcome.KEPT and finding.plan is not None:
        named = named.filter(policy__imported_line=finding.plan.line_digest)
    return named.first()


def _store(plan: Plan, how: str) -> PeriodicTask:
    schedule = PeriodicTask(
        name=plan.name,
        task=plan.target.job.task_name,
        kwargs=json.dumps(plan.target.options),
        description=plan.description or plan.target.job.help,
    )
    stored_schedules.assign(schedule, plan.times)
    schedule.save()
    SchedulePolicy.objects.filter(schedule=schedule).update(
        concurrency=plan.concurrency or "",
        time_limit=plan.time_limit,
        time_limit_grace=plan.time_limit_grace,
        imported_line=plan.line_digest,
    )
    audit.log_added_schedule(schedule.pk, how)
    if plan.mail:
        rule = AlertRule.objects.create(
            name=_free_name(AlertRule, f"MAILTO of {plan.name}"), schedule=schedule, late_after=LATE_AFTER
        )
        destination = _destination(plan.mail, how)
        rule.destinations.add(destination)
        found = {"Name": rule.name, "Runs of": schedule.name, "Destinations": destination.name}
        audit.log_added(rule, how, found)
    return schedule


def _destination(addresses: tuple[str, ...], how: str) -> AlertDestination:
    """The destination with just these addresses; a new one if there is none."""
    for each in AlertDestination.objects.filter(kind=DestinationKind.MAIL).order_by("pk"):
        if set(each.mail_addresses) == set(addresses):
            return each
    name = _free_name(AlertDestination, ", ".join(addresses))
    made = AlertDestination.objects.create(
        name=name, kind=DestinationKind.MAIL, addresses=", ".join(addresses)
    )
    found = {"Name": name, "Kind": made.get_kind_display(), "Address": made.masked_address}
    audit.log_added(made, how, found)
    return made


def _free_name(model: type[AlertDestination] | type[AlertRule], wanted: str) -> str:
    name, number = wanted[:_MAX_NAME_LENGTH], 1
    while model._default_manager.filter(name=name).exists():
        number += 1
        suffix = f" ({number})"
        name = wanted[: _MAX_NAME_LENGTH - len(suffix)] + suffix
    return name
