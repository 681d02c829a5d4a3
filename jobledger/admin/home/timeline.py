"""The timeline of past and planned runs: one row per job, as SVG without inline styles.

There is a bar for each run to the left of now, and a hollow mark for each planned run to the right.

A bar shows the start and the duration of its run. Runs whose bars would overlap share a bar, which shows
their number and the worst of their statuses.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from html import escape
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
from django.db.models.functions import Coalesce
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from jobledger import formats
from jobledger.admin.display import RunUrls
from jobledger.admin.home.planned import PlannedMark, ScheduleUrls
from jobledger.admin.markup import filled
from jobledger.admin.unconverted import Unconverted, time_of
from jobledger.models import PROBLEMS, Run, Status

LABEL_WIDTH = 170
WIDTH = 1000
ROW_HEIGHT = 22
AXIS_HEIGHT = 20
MIN_BAR_WIDTH = 3
NOW_LABEL_MARGIN = 34
"""No other labels are drawn within this distance of "now"."""
END_LABEL_MARGIN = 20
"""The same for the right edge, which would cut them off."""

SEVERITY = (
    *PROBLEMS,
    Status.CANCELLED,
    Status.SKIPPED,
    Status.RUNNING,
    Status.QUEUED,
    Status.SENT,
    Status.SUCCEEDED,
)
"""Worst first."""
UNKNOWN = Status("unknown")
"""Of runs whose status this version does not know."""

# The y position and height of a bar in its row: statuses differ in shape as well as in colour.
_FULL, _MIDDLE, _LOW = (3, 16), (7, 8), (14, 5)
_SHAPES = {**dict.fromkeys(PROBLEMS, _FULL), Status.CANCELLED: _LOW, Status.SKIPPED: _LOW}
_RANKS = {status: rank for rank, status in enumerate(SEVERITY)}
# The condition of most runs first: it is evaluated for each of them.
_RANK = Case(
    *(When(status=status, then=Value(rank)) for status, rank in reversed(_RANKS.items())),
    default=Value(len(SEVERITY)),
    output_field=IntegerField(),
)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One or more runs in the timeline."""

    job: str
    status: Status
    begin: datetime
    end: datetime
    first_queued: datetime
    last_queued: datetime
    count: int = 1
    run_id: UUID | None
    """None if there are several runs."""


@dataclass(frozen=True, kw_only=True)
class TimeAxis:
    """The period that the timeline shows."""

    begin: datetime
    now: datetime
    end: datetime
    """Equal to ``now`` if planned runs are not shown."""

    @cached_property
    def _edges(self) -> tuple[float, float]:
        # POSIX timestamps: the difference of two times in the same time zone ignores clock changes.
        return self.begin.timestamp(), self.end.timestamp()

    def x(self, time: datetime) -> float:
        """The horizontal position of the time, limited to the ends of the axis."""
        begin, end = self._edges
        share = (time.timestamp() - begin) / (end - begin)
        return LABEL_WIDTH + min(max(share, 0.0), 1.0) * (WIDTH - LABEL_WIDTH)

    def spans_ahead(self) -> list[datetime]:
        """The edges of spans from now to the end, each no wider than the minimum bar width."""
        begin, end = self._edges
        now, step = self.now.astimezone(UTC), (end - begin) * MIN_BAR_WIDTH / (WIDTH - LABEL_WIDTH)
        count = math.ceil((end - now.timestamp()) / step)
        edges = [now + timedelta(seconds=place * step) for place in range(count)]
        return [*edges, self.end.astimezone(UTC)]

    def ticks(self) -> Iterator[datetime]:
        """Round hours, or midnights on a long axis, in the time zone of the axis."""
        step = timedelta(days=1) if self.is_long else timedelta(hours=3)
        tick = self.begin.replace(hour=0, minute=0, second=0, microsecond=0)
        while tick <= self.end:
            if tick >= self.begin:
                yield tick
            tick += step

    @property
    def is_long(self) -> bool:
        """Whether the axis shows days instead of hours."""
        return self.end - self.begin > timedelta(days=2)


@dataclass(frozen=True, kw_only=True)
class JobRow:
    job: str
    bars: Sequence[Bar] = ()
    planned: Sequence[PlannedMark] = ()


def read_bars(axis: TimeAxis) -> list[Bar]:
    """The bars of the runs that were queued in this period, already grouped by the database."""
    length = (axis.end - axis.begin).total_seconds()
    seconds = max(1, int(length * MIN_BAR_WIDTH / (WIDTH - LABEL_WIDTH)))
    begin = Coalesce("started_at", "queued_at")
    now = Value(axis.now, output_field=DateTimeField())
    found = (
        Run.objects.filter(queued_at__gte=axis.begin)
        # Both are annotations, so that Django groups by the slice first: SQLite sorts numbers faster.
        .annotate(slice=_TimeSlice(begin, seconds=seconds), name=F("job"))
        .values("slice", "name")
        .annotate(
            rank=Min(_RANK),
            count=Count("pk"),
            begin=Unconverted(Min(begin)),
            end=Unconverted(
                Max(Case(When(status=Status.RUNNING, then=now), default=Coalesce("finished_at", begin)))
            ),
            first_queued=Unconverted(Min("queued_at")),
            last_queued=Unconverted(Max("queued_at")),
            one=Min(_Text("pk")),
        )
        .order_by()
    )
    return [_bar(each) for each in found]


def _bar(found: Mapping[str, Any]) -> Bar:
    begin = time_of(found["begin"])
    return Bar(
        job=found["name"],
        status=(*SEVERITY, UNKNOWN)[found["rank"]],
        begin=begin,
        end=max(begin, time_of(found["end"])),
        first_queued=time_of(found["first_queued"]),
        last_queued=time_of(found["last_queued"]),
        count=found["count"],
        run_id=UUID(found["one"]) if found["count"] == 1 else None,
    )


def job_rows(bars: Iterable[Bar], axis: TimeAxis, planned: Iterable[PlannedMark] = ()) -> list[JobRow]:
    """One row per job, jobs with problems first. Overlapping bars are joined."""
    by_job: defaultdict[str, tuple[list[Bar], list[PlannedMark]]] = defaultdict(lambda: ([], []))
    for bar in bars:
        by_job[bar.job][0].append(bar)
    for mark in planned:
        by_job[mark.job][1].append(mark)
    rows = [
        JobRow(job=job, bars=list(_join_overlapping(job_bars, axis)), planned=marks)
        for job, (job_bars, marks) in by_job.items()
    ]
    return sorted(rows, key=lambda row: (not any(bar.status in PROBLEMS for bar in row.bars), row.job))


def svg(rows: Sequence[JobRow], axis: TimeAxis, title: str, urls: RunUrls) -> SafeString:
    """The timeline as SVG. Every bar is a link with a tooltip."""
    height = AXIS_HEIGHT + ROW_HEIGHT * len(rows)
    schedule_urls = ScheduleUrls()
    drawn = ((_row_svg(row, index, axis, urls, schedule_urls),) for index, row in enumerate(rows))
    return format_html(
        '<svg class="timeline" viewBox="0 0 {} {}" role="group" aria-label="{}">{}{}</svg>',
        WIDTH,
        height,
        title,
        _axis_svg(axis, height),
        format_html_join("", "{}", drawn),
    )


def _join_overlapping(bars: list[Bar], axis: TimeAxis) -> Iterator[Bar]:
    """Joins bars that start within the minimum width of the previous one. Chronological."""
    group: list[Bar] = []
    full_at = 0.0
    for bar in sorted(bars, key=lambda bar: bar.begin):
        x = axis.x(bar.begin)
        if group and x >= full_at:
            yield _join(group)
            group = []
        if not group:
            full_at = x + MIN_BAR_WIDTH
        group.append(bar)
    if group:
        yield _join(group)


def _join(group: list[Bar]) -> Bar:
    """Combine bars, which must be sorted by their start."""
    if len(group) == 1:
        return group[0]
    return Bar(
        job=group[0].job,
        status=min((bar.status for bar in group), key=lambda status: _RANKS.get(status, len(_RANKS))),
        begin=group[0].begin,
        end=max(bar.end for bar in group),
        first_queued=min(bar.first_queued for bar in group),
        last_queued=max(bar.last_queued for bar in group),
        count=sum(bar.count for bar in group),
        run_id=None,
    )


def _row_svg(
    row: JobRow, index: int, axis: TimeAxis, urls: RunUrls, schedule_urls: ScheduleUrls
) -> SafeString:
    top = AXIS_HEIGHT + index * ROW_HEIGHT
    drawn = [_bar_svg(bar, top, axis, urls) for bar in row.bars]
    drawn += [_mark_svg(mark, top, axis, schedule_urls) for mark in row.planned]
    bars = mark_safe("".join(drawn))  # noqa: S308
    label = row.job if len(row.job) <= 26 else f"{row.job[:25]}…"
    return format_html(
        '<g><a href="{}"><title>{}</title><text x="0" y="{}">{}</text></a>'
        '<line x1="{}" x2="{}" y1="{}" y2="{}"/>{}</g>',
        urls.filtered(job=row.job, since=axis.begin),
        row.job,
        top + 15,
        label,
        LABEL_WIDTH,
        WIDTH,
        top + ROW_HEIGHT - 0.5,
        top + ROW_HEIGHT - 0.5,
        bars,
    )


def _bar_svg(bar: Bar, top: int, axis: TimeAxis, urls: RunUrls) -> SafeString:
    x = axis.x(bar.begin)
    width = max(axis.x(bar.end) - x, MIN_BAR_WIDTH)
    y, height = _SHAPES.get(bar.status, _MIDDLE)
    # Only problems are in the tab order; all runs of a job can be reached through its name.
    title = escape(_title(bar, axis.now.tzinfo))
    tabindex = "0" if bar.status in PROBLEMS else "-1"
    left = min(x, WIDTH - MIN_BAR_WIDTH)
    # format_html would be slow, because it also escapes numbers: a timeline has a thousand bars.
    return mark_safe(  # noqa: S308
        f'<a href="{escape(_url(bar, urls))}" tabindex="{tabindex}" aria-label="{title}">'
        f'<rect class="bar bar-{bar.status.value}" x="{left:.1f}" y="{top + y}" width="{width:.1f}" '
        f'height="{height}"><title>{title}</title></rect></a>'
    )


def _mark_svg(mark: PlannedMark, top: int, axis: TimeAxis, urls: ScheduleUrls) -> SafeString:
    x = axis.x(mark.first)
    width = max(axis.x(mark.end) - x if mark.count > 1 else 0, MIN_BAR_WIDTH)
    y, height = _MIDDLE
    # Half of the outline is outside the rectangle.
    title = SafeString(escape(mark.title))
    return filled(
        '<a href="{}" tabindex="-1" aria-label="{}">'
        '<rect class="bar bar-planned" x="{}" y="{}" width="{}" height="{}">'
        "<title>{}</title></rect></a>",
        urls.of(mark),
        title,
        f"{min(x, WIDTH - width) + 0.5:.1f}",
        top + y + 0.5,
        f"{width - 1:.1f}",
        height - 1,
        title,
    )


def _url(bar: Bar, urls: RunUrls) -> str:
    """The page of the run, or the list of the bar's runs."""
    if bar.run_id is not None:
        return urls.page(bar.run_id)
    # The end of the list's range is exclusive.
    until = bar.last_queued + datetime.resolution
    return urls.filtered(job=bar.job, since=bar.first_queued, until=until)


def _title(bar: Bar, zone: tzinfo | None) -> str:
    if bar.count > 1:
        between = f"{formats.exact(bar.begin, zone)} to {formats.exact(bar.end, zone)}"
        return f"{bar.job}: {bar.count} runs, {between}; worst status: {bar.status.label}"
    took = formats.duration(bar.end - bar.begin)
    return f"{bar.job}: {bar.status.label}, {formats.exact(bar.begin, zone)}, {took}"


def _axis_svg(axis: TimeAxis, height: int) -> SafeString:
    now, has_now = axis.x(axis.now), axis.now < axis.end
    ticks = [
        tick
        for tick in axis.ticks()
        if (x := axis.x(tick)) <= WIDTH - END_LABEL_MARGIN
        and not (has_now and abs(x - now) <= NOW_LABEL_MARGIN)
    ]
    return format_html("{}{}", _ticks_svg(axis, ticks, height), _now_svg(now, height) if has_now else "")


def _now_svg(x: float, height: int) -> SafeString:
    return format_html(
        '<line class="now" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text class="hour hour-now" x="{0}" y="12">now</text>',
        f"{x:.1f}",
        AXIS_HEIGHT - 4,
        height,
    )


def _ticks_svg(axis: TimeAxis, ticks: Iterable[datetime], height: int) -> SafeString:
    return format_html_join(
        "",
        '<line class="tick" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text class="hour" x="{0}" y="12">{3}</text>',
        (
            (
                f"{axis.x(tick):.1f}",
                AXIS_HEIGHT - 4,
                height,
                f"{tick:%a %d}" if axis.is_long else f"{tick:%H:%M}",
            )
            for tick in ticks
        ),
    )


class _Text(Func):
    """A UUID as text: PostgreSQL has no MIN for UUIDs, and elsewhere they are text already."""

    output_field = CharField()
    template = "%(expressions)s"

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(compiler, connection, template="(%(expressions)s)::text", **extra)


class _TimeSlice(Func):
    """The number of the ``seconds``-long slice that includes a time, counted from any fixed time."""

    output_field = IntegerField()

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(
            compiler,
            connection,
            # Faster than strftime().
            template="(CAST(julianday(%(expressions)s) * 86400 AS INTEGER) / %(seconds)s)",
            **extra,
        )

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        return self.as_sql(
            compiler,
            connection,
            template="(FLOOR(EXTRACT(EPOCH FROM %(expressions)s) / %(seconds)s))::bigint",
            **extra,
        )
