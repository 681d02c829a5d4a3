"""The last runs of some schedules, read with one query whose cost does not grow with the ledger."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import DateTimeField, F, OuterRef, Subquery, Value
from django.db.models.functions import Coalesce
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.models import Run, Status

_BEGINNING = Value(datetime(1970, 1, 1, tzinfo=UTC), output_field=DateTimeField())


@dataclass(frozen=True, kw_only=True)
class LatestRun:
    """What a list says of a run."""

    id: uuid.UUID
    status: Status
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def moment(self) -> datetime:
        """When it came about, or began."""
        return self.started_at or self.queued_at

    def took(self, now: datetime) -> timedelta | None:
        """How long it ran, or has been running; None where it was not executed."""
        if self.started_at is None:
            return None
        end = self.finished_at or (now if self.status is Status.RUNNING else None)
        return None if end is None else max(end - self.started_at, timedelta(0))


def of_schedules(schedule_ids: Collection[int], limit: int) -> dict[int, list[LatestRun]]:
    """At most so many runs of each, newest first; a schedule without runs is left out."""
    # For each schedule the database steps through one index to the moment of its oldest wanted run, and
    # reads from there on: a window over all its runs would read the whole ledger.
    newest = Run.objects.filter(schedule=OuterRef("pk")).order_by("-queued_at").values("queued_at")
    oldest_wanted = Coalesce(Subquery(newest[limit - 1 : limit]), _BEGINNING)
    schedules = PeriodicTask.objects.filter(pk__in=schedule_ids).annotate(oldest_wanted=oldest_wanted)
    columns = (f"runs__{name}" for name in ("id", "status", "queued_at", "started_at", "finished_at"))
    rows = schedules.filter(runs__queued_at__gte=F("oldest_wanted")).values_list("pk", *columns)
    found: dict[int, list[LatestRun]] = {}
    for schedule_id, *values in rows.order_by():
        found.setdefault(schedule_id, []).append(_run(*values))
    return {pk: _newest(runs, limit) for pk, runs in found.items()}


def _run(
    run_id: uuid.UUID,
    status: str,
    queued_at: datetime,
    started_at: datetime | None,
    finished_at: datetime | None,
) -> LatestRun:
    return LatestRun(
        id=run_id,
        status=Status(status),
        queued_at=queued_at,
        started_at=started_at,
        finished_at=finished_at,
    )


def _newest(runs: list[LatestRun], limit: int) -> list[LatestRun]:
    """Several of one moment may have come on top."""
    return sorted(runs, key=lambda run: (run.queued_at, run.id), reverse=True)[:limit]
