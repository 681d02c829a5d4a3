"""Gives imported schedules the runs that ``jobledger wrap`` has recorded of their lines."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from uuid import UUID

from django.db.models import QuerySet
from django_celery_beat.models import PeriodicTask

from jobledger.crontab.findings import Plan
from jobledger.crontab.targets import words_of
from jobledger.models import Run, Trigger
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import slots_between

MAX_DELAY = timedelta(seconds=90)
"""Cron wakes up every minute, and a busy machine takes its time."""
BATCH = 1000
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A line that runs may belong to."""

    plan: Plan
    schedule: PeriodicTask | None
    """None if the line is not imported. Its runs are then not given to another line either."""

    def last_due(self, at: datetime) -> datetime:
        """When cron last started the line before ``at``; long ago if that was not just before it."""
        rule = Cron(expression=self.plan.times.expression, zone=self.plan.times.zone)
        return max(slots_between(rule, at - MAX_DELAY, at), default=_NEVER)


def take_over(candidates: Iterable[Candidate]) -> int:
    """Link the runs of cron with the job and the options of a line; returns how many.

    Lines with the same job and options are told apart by their times.
    """
    groups: dict[tuple[object, ...], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.plan.job_and_options].append(candidate)
    return sum(_take_over(group) for group in groups.values())


def _take_over(candidates: Sequence[Candidate]) -> int:
    plan = candidates[0].plan
    columns = ("pk", "options", "queued_at")
    runs = _unlinked(plan).order_by("queued_at", "pk").values_list(*columns).iterator(BATCH)
    _, words = plan.job_and_options
    # Nearly all runs have the options of one of the lines.
    known = cache(lambda text: words_of(plan.target.job, json.loads(text)) == words)
    starts = [(pk, at) for pk, options, at in runs if known(json.dumps(options))]
    found = (
        [list(pks) for pks in _by_time(candidates, starts)]
        if len(candidates) > 1
        else [[pk for pk, _ in starts]]
    )
    return sum(_link(candidate, pks) for candidate, pks in zip(candidates, found, strict=True))


def _unlinked(plan: Plan) -> QuerySet[Run]:
    return Run.objects.filter(job=plan.target.job.name, trigger=Trigger.CRON, schedule=None)


def _by_time(
    candidates: Sequence[Candidate], starts: Iterable[tuple[UUID, datetime]]
) -> Sequence[Sequence[UUID]]:
    """For each line, the runs that it was the last to be due before.

    Lines that are due at the same time have one run each.
    """
    found: list[list[UUID]] = [[] for _ in candidates]
    latest = [_NEVER for _ in candidates]
    for pk, at in starts:
        due = [candidate.last_due(at) for candidate in candidates]
        slot = max(due)
        if slot == _NEVER:
            continue
        tied = [number for number, each in enumerate(due) if each == slot]
        chosen = next((number for number in tied if latest[number] != slot), tied[0])
        found[chosen].append(pk)
        latest[chosen] = slot
    return found


def _link(candidate: Candidate, pks: Sequence[UUID]) -> int:
    schedule, count = candidate.schedule, 0
    if schedule is None:
        return 0
    for begin in range(0, len(pks), BATCH):
        of_cron = _unlinked(candidate.plan).filter(pk__in=pks[begin : begin + BATCH])
        count += of_cron.update(schedule=schedule, schedule_name=schedule.name)
    return count
