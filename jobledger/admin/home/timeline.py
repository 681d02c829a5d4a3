"""The picture of the last hours: a row per job, a mark per run, as SVG without any style of its own. Pure.

A mark begins where its run began and is as long as the run took. Runs that would lie upon each other
share one mark, which looks like the worst of them and says how many they are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
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
from django.utils.html import escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from jobledger.admin import display
from jobledger.admin.display import RunUrls
from jobledger.models import PROBLEMS, Run, Status

LABEL_WIDTH = 170
PICTURE_WIDTH = 1000
ROW_HEIGHT = 22
AXIS_HEIGHT = 20
NARROWEST_MARK = 3

SEVERITY = (
    *PROBLEMS,
    Status.CANCELLED,
    Status.SKIPPED,
    Status.RUNNING,
    Status.QUEUED,
    Status.SENT,
    Status.SUCCEEDED,
)
"""The worst first."""

# The y and the height of a mark inside its row: a state is told by its shape as well as by its hue.
_FULL, _MIDDLE, _LOW = (3, 16), (7, 8), (14, 5)
_SHAPES = {**dict.fromkeys(PROBLEMS, _FULL), Status.CANCELLED: _LOW, Status.SKIPPED: _LOW}


@dataclass(frozen=True, kw_only=True)
class Span:
    """A run, or many of them, as the picture shows them."""

    job: str
    status: Status
    begin: datetime
    end: datetime
    first_queued: datetime
    last_queued: datetime
    count: int = 1
    run_id: UUID | None
    """None where it is more than one."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The time that the picture shows."""

    begin: datetime
    end: datetime

    @cached_property
    def _edges(self) -> tuple[float, float]:
        # In seconds since 1970: the difference of two moments of one zone takes no account of a clock change.
        return self.begin.timestamp(), self.end.timestamp()

    def x(self, moment: datetime) -> float:
        """Where the moment stands, from the left edge of the picture."""
        begin, end = self._edges
        share = (moment.timestamp() - begin) / (end - begin)
        return LABEL_WIDTH + min(max(share, 0.0), 1.0) * (PICTURE_WIDTH - LABEL_WIDTH)

    def ticks(self) -> Iterator[datetime]:
        """Round hours, or midnights of a longer window, in the zone of the moments."""
        step = timedelta(hours=3) if self.end - self.begin <= timedelta(days=2) else timedelta(days=1)
        moment = self.begin.replace(hour=0, minute=0, second=0, microsecond=0)
        while moment <= self.end:
            if moment >= self.begin:
                yield moment
            moment += step


@dataclass(frozen=True, kw_only=True)
class Row:
    """A job's line in the picture."""

    job: str
    spans: Sequence[Span]


def rows(spans: Iterable[Span], window: Window) -> list[Row]:
    """A row per job, the troubled ones first, with spans that would lie upon each other joined."""
    by_job: dict[str, list[Span]] = {}
    for span in spans:
        by_job.setdefault(span.job, []).append(span)
    made = [Row(job=job, spans=list(_joined(of_job, window))) for job, of_job in by_job.items()]
    return sorted(made, key=lambda row: (not any(span.status in PROBLEMS for span in row.spans), row.job))


def picture(rows: Sequence[Row], window: Window, title: str, urls: RunUrls) -> SafeString:
    """The SVG. Every mark is a link, and what it is about stands in its title."""
    height = AXIS_HEIGHT + ROW_HEIGHT * len(rows)
    lines = format_html_join("", "{}", ((_line(row, index, window, urls),) for index, row in enumerate(rows)))
    return format_html(
        '<svg class="timeline" viewBox="0 0 {} {}" role="group" aria-label="{}">{}{}</svg>',
        PICTURE_WIDTH,
        height,
        title,
        _axis(window, height),
        lines,
    )


def _joined(spans: list[Span], window: Window) -> Iterator[Span]:
    """In the order of time; what begins before the last mark's narrowest end joins it."""
    group: list[Span] = []
    full_at = 0.0
    for span in sorted(spans, key=lambda span: span.begin):
        x = window.x(span.begin)
        if group and x >= full_at:
            yield _join(group)
            group = []
        if not group:
            full_at = x + NARROWEST_MARK
        group.append(span)
    if group:
        yield _join(group)


def _join(group: list[Span]) -> Span:
    """One mark for all of them, which stand in the order of their beginnings."""
    if len(group) == 1:
        return group[0]
    return Span(
        job=group[0].job,
        status=min((span.status for span in group), key=_severity),
        begin=group[0].begin,
        end=max(span.end for span in group),
        first_queued=min(span.first_queued for span in group),
        last_queued=max(span.last_queued for span in group),
        count=sum(span.count for span in group),
        run_id=None,
    )


def _line(row: Row, index: int, window: Window, urls: RunUrls) -> SafeString:
    top = AXIS_HEIGHT + index * ROW_HEIGHT
    marks = mark_safe("".join(_mark(span, top, window, urls) for span in row.spans))  # noqa: S308
    short = row.job if len(row.job) <= 26 else f"{row.job[:25]}…"
    return format_html(
        '<g><a href="{}"><title>{}</title><text x="0" y="{}">{}</text></a>'
        '<line x1="{}" x2="{}" y1="{}" y2="{}"/>{}</g>',
        urls.filtered(job=row.job, since=window.begin),
        row.job,
        top + 15,
        short,
        LABEL_WIDTH,
        PICTURE_WIDTH,
        top + ROW_HEIGHT - 0.5,
        top + ROW_HEIGHT - 0.5,
        marks,
    )


def _mark(span: Span, top: int, window: Window, urls: RunUrls) -> SafeString:
    x = window.x(span.begin)
    width = max(window.x(span.end) - x, NARROWEST_MARK)
    y, height = _SHAPES.get(span.status, _MIDDLE)
    # By keyboard the troubled ones are reached one by one, and all of a job through its name.
    title = escape(_title(span))
    is_stop = "0" if span.status in PROBLEMS else "-1"
    left = min(x, PICTURE_WIDTH - NARROWEST_MARK)
    # Not by format_html, which escapes the figures as well: a picture has a thousand marks.
    return mark_safe(  # noqa: S308
        f'<a href="{escape(_address(span, urls))}" tabindex="{is_stop}" aria-label="{title}">'
        f'<rect class="span span-{span.status.value}" x="{left:.1f}" y="{top + y}" width="{width:.1f}" '
        f'height="{height}"><title>{title}</title></rect></a>'
    )


def _address(span: Span, urls: RunUrls) -> str:
    """Of the run's page, or of the list that has them all."""
    if span.run_id is not None:
        return urls.page(span.run_id)
    # The list's bounds are whole seconds, and the end is not within them.
    until = span.last_queued.replace(microsecond=0) + timedelta(seconds=1)
    return urls.filtered(job=span.job, since=span.first_queued, until=until)


def _title(span: Span) -> str:
    if span.count > 1:
        between = f"{display.exact(span.begin)} to {display.exact(span.end)}"
        return f"{span.job}: {span.count} runs, {between}; the worst: {span.status.label}"
    took = display.duration(span.end - span.begin)
    return f"{span.job}: {span.status.label}, {display.exact(span.begin)}, {took}"


def _axis(window: Window, height: int) -> SafeString:
    is_long = window.end - window.begin > timedelta(days=2)
    return format_html_join(
        "",
        '<line class="tick" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text class="hour" x="{0}" y="12">{3}</text>',
        (
            (
                f"{window.x(tick):.1f}",
                AXIS_HEIGHT - 4,
                height,
                f"{tick:%a %d}" if is_long else f"{tick:%H:%M}",
            )
            for tick in window.ticks()
        ),
    )


def _severity(status: Status) -> int:
    return _RANKS[status]


_RANKS = {status: rank for rank, status in enumerate(SEVERITY)}


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
