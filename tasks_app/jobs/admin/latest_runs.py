"""The last runs of some schedules, read with two queries whose cost does not grow with the ledger."""

import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import OuterRef, Q, Subquery
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.models import Run, Status

_COLUMNS = ("schedule", "id", "status", "queued_at", "started_at", "finished_at")


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
    """At most so many runs of each, newest first; a schedule without runs is left out. For a page of them."""
    wanted = Q()
    for schedule_id, moment in _oldest_wanted(schedule_ids, limit):
        wanted |= Q(schedule=schedule_id) & (Q() if moment is None else Q(queued_at__gte=moment))
    found: dict[int, list[LatestRun]] = {}
    # Without anything that is wanted the condition would be empty, and everything would fit it.
    for schedule_id, *values in Run.objects.filter(wanted).values_list(*_COLUMNS) if wanted else ():
        found.setdefault(schedule_id, []).append(_run(*values))
    return {pk: _newest(runs, limit) for pk, runs in found.items()}


def _oldest_wanted(schedule_ids: Collection[int], limit: int) -> Iterable[tuple[int, datetime | None]]:
    """Each schedule with the moment of its oldest wanted run; None where it has fewer than are wanted."""
    # One step into an index for each schedule. That the moments are then written into the second query, and
    # not joined into one, is for PostgreSQL: it would not know how few runs they let through, and read all.
    newest = Run.objects.filter(schedule=OuterRef("pk")).order_by("-queued_at").values("queued_at")
    schedules = PeriodicTask.objects.filter(pk__in=schedule_ids).order_by()
    pairs: Iterable[tuple[int, datetime | None]] = schedules.values_list(
        "pk", Subquery(newest[limit - 1 : limit])
    )
    return pairs


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
