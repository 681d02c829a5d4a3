"""What is to be reported to Sentry, as rows, and which runs have a cron monitor.

Nothing is recorded unless ``SENTRY_DSN`` is set.
"""

from collections.abc import Iterable
from datetime import datetime
from fnmatch import fnmatchcase

from django.db.models import QuerySet

from jobledger.conf import settings
from jobledger.models import FAILURES, Run, SentryReport, Status, Trigger
from jobledger.models import SentryReportKind as Kind

STARTS = 1000
"""How many running runs are looked at for their start."""


def run_ended(run: Run, status: Status, now: datetime) -> None:
    """Record what is to be reported about a run that has reached this final state."""
    if not settings.SENTRY_DSN:
        return
    kinds = [Kind.FAILURE] if status in FAILURES else []
    if is_monitored(run):
        kinds.append(_check_in(status))
        # A start that could not be reported yet must not be reported after the end.
        SentryReport.objects.filter(run=run.pk, kind=Kind.IN_PROGRESS).update(due_at=None)
    _create([(run, kind) for kind in kinds], now)


def runs_not_executed(runs: Iterable[Run], now: datetime) -> None:
    """The same for runs that were not executed: only monitors hear of them."""
    if settings.SENTRY_DSN and settings.SENTRY_MONITORS:
        _create([(run, _check_in(Status(run.status))) for run in runs if is_monitored(run)], now)


def is_monitored(run: Run) -> bool:
    """Whether a cron monitor hears of the run: ``SENTRY_MONITORS`` names its job or its schedule."""
    patterns = settings.SENTRY_MONITORS if settings.SENTRY_DSN else ()
    if not patterns or run.schedule_id is None or run.trigger == Trigger.BACKFILL:
        return False
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in (run.job, run.schedule_name))


def note_starts(now: datetime) -> None:
    """Record that runs with a monitor have started."""
    if settings.SENTRY_DSN and settings.SENTRY_MONITORS:
        started = [run for run in _unnoted().only(*_FIELDS)[:STARTS] if is_monitored(run)]
        _create([(run, Kind.IN_PROGRESS) for run in started], now)


_FIELDS = ("job", "trigger", "schedule_id", "schedule_name")


def _unnoted() -> QuerySet[Run]:
    noted = SentryReport.objects.filter(kind=Kind.IN_PROGRESS).values("run")
    running = Run.objects.filter(status=Status.RUNNING, schedule__isnull=False)
    return running.exclude(pk__in=noted).order_by("-started_at")


def _check_in(status: Status) -> Kind:
    """A slot that was missed is an error. One that was left out or cancelled on purpose is none."""
    is_error = status in (*FAILURES, Status.MISSED, Status.EXPIRED)
    return Kind.ERROR if is_error else Kind.OK


def _create(found: Iterable[tuple[Run, Kind]], now: datetime) -> None:
    SentryReport.objects.bulk_create(
        [SentryReport(run_id=run.pk, kind=kind, created_at=now, due_at=now) for run, kind in found],
        ignore_conflicts=True,
        batch_size=500,
    )
