"""A chart of the durations of the newest runs of a job or schedule, as SVG without inline styles.

Each bar represents a run, oldest first, and links to it. A successful run is a solid bar, a failed run has a
foot, an unfinished run is an outlined bar, and a run that was not executed is a small outlined box. The line
is the median of the successful runs. Horizontal positions are percentages and heights are pixels, so that the
chart fits any page width and its text does not scale.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobledger import formats
from jobledger.admin.display import RunUrls
from jobledger.admin.recent_runs import (
    JobStatistics,
    RecentRun,
    Shape,
    counts_by_status,
    run_title,
    shape_of,
)

TOP, GROUND, HEIGHT = 8, 104, 112
MIN_BAR_HEIGHT = 2
BOX_HEIGHT = 6
MIN_PLACES = 25
"""Limits the width of bars if there are only a few."""
LINE_HEIGHT = 13
_GAP = 0.25
"""The fraction of its place that a bar leaves empty."""

_BAR = (
    '<a class="bar-{shape} run-{status}" href="{url}" tabindex="{tabindex}" aria-label="{title}">'
    "<title>{title}</title>"
    '<rect class="place" x="{place}" width="{step}" y="0" height="{chart_height}"/>'
    '<rect class="bar" x="{left}" width="{width}" y="{top}" height="{height}"/>{foot}</a>'
)
_FOOT = '<rect class="bar" x="{}" width="{}" y="{}" height="4"/>'
_SVG = '<svg class="durations" height="{}" role="group" aria-label="{}">{}{}{}</svg>'
_LINE = '<line class="{}" x1="0" x2="100%" y1="{}" y2="{}"/>'
_LABEL = '<text x="100%" dx="6" y="{}">{}</text>'


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A run in the chart."""

    run: RecentRun
    shape: Shape
    place: float
    """The start of its place, in percent of the chart's width."""
    step: float
    """The width of its place, in percent."""
    height: int

    @property
    def left(self) -> float:
        return self.place + self.step * _GAP / 2

    @property
    def width(self) -> float:
        return self.step * (1 - _GAP)


def duration_chart(runs: Sequence[RecentRun], now: datetime) -> SafeString:
    """The chart of these runs (newest first); empty if there are no runs."""
    if not runs:
        return SafeString("")
    longest, median = _longest(runs, now), JobStatistics(runs=tuple(runs)).typical_duration
    description = f"Durations. {counts_by_status(runs)}"
    if median is not None:
        description += f". Median of the successful runs: {formats.duration(median)}"
    urls = RunUrls()
    bars_svg = format_html_join("", "{}", ((_bar_svg(bar, now, urls),) for bar in bars(runs, now)))
    lines = format_html_join("", "{}", ((line,) for line in _lines(longest, median)))
    return format_html(_SVG, HEIGHT, description, bars_svg, lines, _labels(longest, median))


def bars(runs: Sequence[RecentRun], now: datetime) -> list[Bar]:
    """The bars of these runs (newest first). The newest run is on the right."""
    places = max(len(runs), MIN_PLACES)
    step = 100 / places
    longest = _longest(runs, now)
    return [
        Bar(
            run=run,
            shape=shape_of(run.status),
            place=(places - 1 - index) * step,
            step=step,
            height=_height(run.took(now), longest) if shape_of(run.status) is not Shape.IDLE else BOX_HEIGHT,
        )
        for index, run in reversed(list(enumerate(runs)))
    ]


def labels(longest: timedelta, median: timedelta | None) -> list[tuple[int, str]]:
    """The labels of the vertical axis with their y positions. The median replaces labels too close to it."""
    axis = [(TOP, formats.duration(longest))] if longest else []
    if median is None:
        return axis
    y = _y(median, longest)
    others = [each for each in axis if abs(each[0] - y) >= LINE_HEIGHT]
    return [*others, (y, f"median {formats.duration(median)}")]


def _longest(runs: Sequence[RecentRun], now: datetime) -> timedelta:
    return max((took for run in runs if (took := run.took(now)) is not None), default=timedelta(0))


def _height(took: timedelta | None, longest: timedelta) -> int:
    share = took / longest if took and longest else 0.0
    return max(MIN_BAR_HEIGHT, round((GROUND - TOP) * share))


def _y(length: timedelta, longest: timedelta) -> int:
    return GROUND - _height(length, longest)


def _bar_svg(bar: Bar, now: datetime, urls: RunUrls) -> SafeString:
    is_failure = bar.shape is Shape.BAD
    left, width = _percent(bar.left), _percent(bar.width)
    return format_html(
        _BAR,
        shape=bar.shape,
        status=bar.run.status,
        url=urls.page(bar.run.id),
        # Only failures are in the tab order; the other runs can be reached through the link to their list.
        tabindex=0 if is_failure else -1,
        title=run_title(bar.run, now),
        place=_percent(bar.place),
        step=_percent(bar.step),
        chart_height=HEIGHT,
        left=left,
        width=width,
        top=GROUND - bar.height,
        height=bar.height,
        foot=format_html(_FOOT, left, width, GROUND + 2) if is_failure else "",
    )


def _lines(longest: timedelta, median: timedelta | None) -> Iterator[SafeString]:
    yield format_html(_LINE, "ground", GROUND + 0.5, GROUND + 0.5)
    if median is not None:
        y = _y(median, longest)
        yield format_html(_LINE, "median", y + 0.5, y + 0.5)


def _labels(longest: timedelta, median: timedelta | None) -> SafeString:
    return format_html_join("", _LABEL, ((y + 4, text) for y, text in labels(longest, median)))


def _percent(number: float) -> str:
    return f"{number:.2f}%"
