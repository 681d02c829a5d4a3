"""A schedule's last runs as a small picture: a bar for each, oldest first, made on the server.

A bar's height is the run's duration. How the run ended is told by the bar's shape, and its hue only helps:
a run that succeeded is a bar alone, one that failed stands on a foot, one that was not executed is a hollow
box on the ground.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobledger import formats
from jobledger.admin.recent_runs import RecentRun
from jobledger.models import FAILURES, LIVE, SUCCESSES, Status

STEP, WIDTH = 6, 5
GROUND, HEIGHT = 20, 24
LOWEST = 2

_PICTURE = (
    '<svg class="sparkline" viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">'
    "{3}</svg>"
)
_BAR = '<path class="bar-{} run-{}" d="{}"><title>{}</title></path>'


class _Shape(StrEnum):
    GOOD = "good"
    BAD = "bad"
    IDLE = "idle"
    BUSY = "busy"


_SHAPES = {
    **dict.fromkeys(Status, _Shape.IDLE),
    **dict.fromkeys(SUCCESSES, _Shape.GOOD),
    **dict.fromkeys(FAILURES, _Shape.BAD),
    **dict.fromkeys(LIVE, _Shape.BUSY),
}


def picture(runs: Sequence[RecentRun], now: datetime, *, places: int) -> SafeString:
    """The runs, given newest first, in as many places; the newest stands at the right end."""
    durations = [run.took(now) or timedelta(0) for run in runs]
    longest = max(durations, default=timedelta(0))
    bars = [
        (
            _SHAPES[run.status],
            run.status,
            _path(run, (places - 1 - index) * STEP, took, longest),
            _title(run, took),
        )
        for index, (run, took) in enumerate(zip(runs, durations, strict=True))
    ]
    # One call for all bars: a page has thousands of them.
    drawn = format_html_join("", _BAR, reversed(bars))
    return format_html(_PICTURE, places * STEP, HEIGHT, summary(runs), drawn)


def summary(runs: Sequence[RecentRun]) -> str:
    """The picture in words: ``Last 3 runs: 2 succeeded, 1 failed``."""
    statuses = [run.status for run in runs]
    counts = [f"{statuses.count(status)} {status.label}" for status in Status if status in statuses]
    which = "Last run" if len(runs) == 1 else f"Last {len(runs)} runs"
    return f"{which}: {', '.join(counts)}"


def _path(run: RecentRun, left: int, took: timedelta, longest: timedelta) -> str:
    shape = _SHAPES[run.status]
    if shape is _Shape.IDLE:
        return f"M{left + 0.5} {GROUND - 0.5}v-4h{WIDTH - 1}v4z"
    height = max(LOWEST, round(GROUND * (took / longest))) if longest else LOWEST
    bar = f"M{left} {GROUND}v-{height}h{WIDTH}v{height}z"
    return f"{bar}M{left} {GROUND + 1}h{WIDTH}v3h-{WIDTH}z" if shape is _Shape.BAD else bar


def _title(run: RecentRun, took: timedelta) -> str:
    length = f", {formats.duration(took)}" if run.started_at else ""
    return f"{run.status.label}{length}, {formats.exact(run.began_at)}"
