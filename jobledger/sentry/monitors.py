"""Cron monitors of Sentry: a check-in for each start and end of a run, which also creates the monitor.

Sentry itself notices runs that do not start. It knows crontabs, and intervals of whole minutes; schedules of
other kinds have no monitor.
"""

import math
from datetime import timedelta
from typing import Any

from django.utils.text import slugify
from django_celery_beat.models import PeriodicTask

from jobledger.conf import settings
from jobledger.jobs import registry
from jobledger.models import Run, SchedulePolicy
from jobledger.models import SentryReportKind as Kind
from jobledger.runs import limits
from jobledger.sentry import events

MAX_SLUG_LENGTH = 50
MARGIN = timedelta(minutes=5)
"""How late a run may start, if its schedule has no deadline."""
MAX_MINUTES = 40_320
"""Sentry's limit, of 28 days."""
DAY_MINUTES = 24 * 60
_UNITS = {"days": ("day", 1), "hours": ("hour", 1), "minutes": ("minute", 1), "seconds": ("minute", 60)}


def check_in(run: Run, kind: Kind) -> dict[str, Any] | None:
    """The check-in of a run; None if its schedule has no monitor, or is gone."""
    schedules = PeriodicTask.objects.select_related("crontab", "interval", "policy")
    schedule = schedules.filter(pk=run.schedule_id).first()
    timing = None if schedule is None else _timing(schedule)
    if schedule is None or timing is None:
        return None
    return {
        "type": "check_in",
        "check_in_id": events.id_of(run),
        "monitor_slug": slug_of(schedule),
        "status": str(kind),
        "environment": settings.SENTRY_ENVIRONMENT or settings.ENVIRONMENT or "production",
        "duration": _duration(run, kind),
        "monitor_config": {**timing, **_tolerance(schedule, run)},
    }


def slug_of(schedule: PeriodicTask) -> str:
    """The monitor's name: that of the schedule, and its id, since names may look the same."""
    suffix = f"-{schedule.pk}"
    return (slugify(schedule.name) or "schedule")[: MAX_SLUG_LENGTH - len(suffix)] + suffix


def _timing(schedule: PeriodicTask) -> dict[str, Any] | None:
    if (crontab := schedule.crontab) is not None:
        fields = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        value = " ".join(str(getattr(crontab, name)).replace(" ", "") for name in fields)
        return {"schedule": {"type": "crontab", "value": value}, "timezone": str(crontab.timezone)}
    if (interval := schedule.interval) is None or interval.period not in _UNITS:
        return None
    unit, divisor = _UNITS[interval.period]
    value, rest = divmod(interval.every, divisor)
    return None if rest else {"schedule": {"type": "interval", "value": value, "unit": unit}}


def _tolerance(schedule: PeriodicTask, run: Run) -> dict[str, int]:
    """In minutes: how late a run may start, and how long it may take."""
    policy = SchedulePolicy.of(schedule)
    own, declared = limits.of_run(run), registry.declaration_of(run.job)
    is_known = own.time_limit is not None and not declared.max_retries
    longest = _minutes((own.time_limit or timedelta(0)) + own.grace) if is_known else DAY_MINUTES
    return {
        "checkin_margin": _minutes(policy.jitter + (policy.starting_deadline or MARGIN)),
        "max_runtime": longest,
    }


def _minutes(length: timedelta) -> int:
    return min(max(math.ceil(length.total_seconds() / 60), 1), MAX_MINUTES)


def _duration(run: Run, kind: Kind) -> float | None:
    if kind is Kind.IN_PROGRESS or run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()
