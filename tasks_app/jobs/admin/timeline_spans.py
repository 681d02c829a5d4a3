"""What the timeline shows, out of the ledger, in a bounded number of rows however many runs there are.

Up to a few thousand runs each is a row of its own. Beyond that the database counts them by job, state and
a slice of the window as wide as the narrowest mark: the picture could not tell them apart anyway.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, F, IntegerField
from django.db.models.expressions import Func
from django.db.models.functions import Coalesce
from django.urls import reverse
from django.utils.http import urlencode

from tasks_app.jobs.admin.timeline import LABEL_WIDTH, NARROWEST_MARK, PICTURE_WIDTH, Span, Window
from tasks_app.jobs.models import Run, Status

MOST_SINGLE = 2000


class _Slice(Func):
    """The number of the slice of time, of so many seconds, in which a moment lies; counted from 1970."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(
            compiler,
            connection,
            template="(CAST(strftime('%%%%s', %(expressions)s) AS INTEGER) / %(seconds)s)",
            **extra,
        )

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(
            compiler,
            connection,
            template="(FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / %(seconds)s))::bigint",
            **extra,
        )


def spans(window: Window) -> list[Span]:
    """The runs that were due, or else began, in the window."""
    singles = list(
        Run.objects.filter(queued_at__gte=window.begin)
        .order_by("-queued_at", "-pk")
        .values_list("pk", "job", "status", "queued_at", "started_at", "finished_at")[: MOST_SINGLE + 1]
    )
    if len(singles) > MOST_SINGLE:
        return list(_counted(window))
    return [_single(row, window) for row in singles]


def list_address(job: str, begin: datetime | None = None, end: datetime | None = None) -> str:
    """The list of a job's runs, between two moments."""
    bounds = {"from": begin, "to": end}
    asked = {name: moment.isoformat() for name, moment in bounds.items() if moment is not None}
    return f"{reverse('admin:jobs_run_changelist')}?{urlencode({'job': job, **asked})}"


def _single(row: Any, window: Window) -> Span:
    pk, job, status, queued_at, started_at, finished_at = row
    begin = started_at or queued_at
    end = finished_at or (window.end if status == Status.RUNNING else begin)
    address = reverse("admin:jobs_run_change", args=[pk])
    return Span(job=job, status=Status(status), begin=begin, end=max(end, begin), address=address)


def _counted(window: Window) -> Iterator[Span]:
    length = (window.end - window.begin).total_seconds()
    seconds = max(1, int(length * NARROWEST_MARK / (PICTURE_WIDTH - LABEL_WIDTH)))
    counted = (
        Run.objects.filter(queued_at__gte=window.begin)
        .annotate(slice=_Slice(Coalesce(F("started_at"), F("queued_at")), seconds=seconds))
        .values("job", "status", "slice")
        .annotate(runs=Count("pk"))
        .order_by()
        .values_list("job", "status", "slice", "runs")
    )
    for job, status, number, count in counted.iterator():
        begin = datetime.fromtimestamp(number * seconds, tz=UTC)
        end = begin + timedelta(seconds=seconds)
        address = list_address(job, begin, end)
        yield Span(job=job, status=Status(status), begin=begin, end=end, count=count, address=address)
