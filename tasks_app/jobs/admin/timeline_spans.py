"""What the timeline shows, out of the ledger: one query, whose answer is bounded however many runs there are.

The database puts the runs together by job, state and a slice of the window as wide as the narrowest mark: the
picture could not tell them apart anyway. A run that is alone in its slice is shown exactly.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

from django.db.models import CharField, Count, F, IntegerField, Max, Min
from django.db.models.expressions import Func
from django.db.models.functions import Cast, Coalesce
from django.urls import reverse
from django.utils.http import urlencode

from tasks_app.jobs.admin.timeline import LABEL_WIDTH, NARROWEST_MARK, PICTURE_WIDTH, Span, Window
from tasks_app.jobs.models import Run, Status


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
    length = (window.end - window.begin).total_seconds()
    seconds = max(1, int(length * NARROWEST_MARK / (PICTURE_WIDTH - LABEL_WIDTH)))
    begin = Coalesce("started_at", "queued_at")
    found = (
        Run.objects.filter(queued_at__gte=window.begin)
        # The slice first, which Django does only among annotations: SQLite sorts numbers faster than texts.
        .annotate(slice=_Slice(begin, seconds=seconds), name=F("job"), state=F("status"))
        .values("slice", "name", "state")
        .annotate(
            count=Count("pk"),
            begin=Min(begin),
            end=Max(Coalesce("finished_at", begin)),
            # PostgreSQL finds the least of texts, not of ids.
            one=Min(Cast("pk", CharField())),
        )
        .order_by()
    )
    addresses = _Addresses()
    return [_span(each, window, addresses) for each in found]


def list_address(job: str, begin: datetime | None = None, end: datetime | None = None) -> str:
    """The list of a job's runs, between two moments."""
    bounds = {"from": begin, "to": end}
    asked = {name: moment.isoformat() for name, moment in bounds.items() if moment is not None}
    return f"{reverse('admin:jobs_run_changelist')}?{urlencode({'job': job, **asked})}"


def _span(found: Mapping[str, Any], window: Window, addresses: "_Addresses") -> Span:
    job, status, begin = found["name"], Status(found["state"]), found["begin"]
    end = window.end if status == Status.RUNNING else max(begin, found["end"])
    return Span(
        job=job,
        status=status,
        begin=begin,
        end=end,
        count=found["count"],
        address=addresses.page(found["one"]) if found["count"] == 1 else addresses.runs_of(job, begin, end),
    )


class _Addresses:
    """Addresses by the thousand: Django is asked once for each kind of page."""

    def __init__(self) -> None:
        some = UUID(int=0)
        self._page = reverse("admin:jobs_run_change", args=[some]).replace(str(some), "{}")
        self._list = reverse("admin:jobs_run_changelist")
        self._jobs: dict[str, str] = {}

    def page(self, run_id: str) -> str:
        """A run's; SQLite keeps its id without hyphens."""
        return self._page.format(UUID(run_id))

    def runs_of(self, job: str, begin: datetime, end: datetime) -> str:
        """The runs of a job between two moments, in UTC."""
        if (quoted := self._jobs.get(job)) is None:
            quoted = self._jobs[job] = quote_plus(job)
        return f"{self._list}?job={quoted}&from={begin:%Y-%m-%dT%H:%M:%S}Z&to={end:%Y-%m-%dT%H:%M:%S}Z"
