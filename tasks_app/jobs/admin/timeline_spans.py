"""What the timeline shows, out of the ledger: one query, whose answer is bounded however many runs there are.

The database puts the runs together by job and a slice of the window as wide as the narrowest mark: the
picture could not tell them apart anyway. They look like the worst of them; a run that is alone in its slice
is shown exactly.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db.models import (
    Case,
    CharField,
    Count,
    DateTimeField,
    F,
    IntegerField,
    Max,
    Min,
    Value,
    When,
)
from django.db.models.expressions import Func
from django.db.models.functions import Cast, Coalesce

from tasks_app.jobs.admin.timeline import (
    LABEL_WIDTH,
    NARROWEST_MARK,
    PICTURE_WIDTH,
    SEVERITY,
    Span,
    Window,
)
from tasks_app.jobs.models import Run, Status

_RANK = Case(
    *(When(status=status, then=Value(rank)) for rank, status in enumerate(SEVERITY)),
    output_field=IntegerField(),
)
"""The place of a run's state among them, the worst first."""


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
    now = Value(window.end, output_field=DateTimeField())
    found = (
        Run.objects.filter(queued_at__gte=window.begin)
        # The slice first, which Django does only among annotations: SQLite sorts numbers faster than texts.
        .annotate(slice=_Slice(begin, seconds=seconds), name=F("job"))
        .values("slice", "name")
        .annotate(
            rank=Min(_RANK),
            count=Count("pk"),
            begin=Min(begin),
            end=Max(Case(When(status=Status.RUNNING, then=now), default=Coalesce("finished_at", begin))),
            first_queued=Min("queued_at"),
            last_queued=Max("queued_at"),
            # PostgreSQL finds the least of texts, not of ids.
            one=Min(Cast("pk", CharField())),
        )
        .order_by()
    )
    return [_span(each) for each in found]


def _span(found: Mapping[str, Any]) -> Span:
    begin = found["begin"]
    return Span(
        job=found["name"],
        status=SEVERITY[found["rank"]],
        begin=begin,
        end=max(begin, found["end"]),
        first_queued=found["first_queued"],
        last_queued=found["last_queued"],
        count=found["count"],
        run_id=UUID(found["one"]) if found["count"] == 1 else None,
    )
