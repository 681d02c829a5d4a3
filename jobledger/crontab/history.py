"""Gives an imported schedule the runs that ``jobledger wrap`` has recorded of its line."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger.crontab.findings import Plan
from jobledger.models import Run, Trigger
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import slots_between

MAX_DELAY = timedelta(seconds=90)
"""Cron wakes up every minute, and a busy machine takes its time."""
BATCH = 1000


def take_over(plan: Plan, schedule: PeriodicTask, *, by_time: bool) -> None:
    """Link the runs of cron with the plan's job and options, and if ``by_time``, only those at its times.

    That is how lines with the same command are told apart.
    """
    found = list(_matching(plan, by_time=by_time))
    for begin in range(0, len(found), BATCH):
        of_cron = _unlinked(plan).filter(pk__in=found[begin : begin + BATCH])
        of_cron.update(schedule=schedule, schedule_name=schedule.name)


def _unlinked(plan: Plan) -> QuerySet[Run]:
    return Run.objects.filter(job=plan.target.job.name, trigger=Trigger.CRON, schedule=None)


def _matching(plan: Plan, *, by_time: bool) -> Iterator[UUID]:
    rule = Cron(expression=plan.times.expression, zone=plan.times.zone)
    columns = ("pk", "options", "queued_at")
    for pk, options, started_at in _unlinked(plan).values_list(*columns).iterator(BATCH):
        if options == plan.target.options and not (by_time and not _is_due(rule, started_at)):
            yield pk


def _is_due(rule: Cron, at: datetime) -> bool:
    return bool(list(slots_between(rule, at - MAX_DELAY, at, limit=1)))
