"""Planned runs in the timeline, to the right of now. Runs whose marks would overlap share a mark.

They use the same forecast as the week view, which takes pauses and jitter into account. Time is divided into
spans of the minimum mark width, so that a schedule that is due every second has no more marks than others.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.utils.http import urlencode

from jobledger import formats
from jobledger.admin.display import page_template
from jobledger.admin_site import page_url
from jobledger.jobs import registry
from jobledger.schedules.forecasts.upcoming import UpcomingStarts, upcoming
from jobledger.schedules.rules.cron_words import listed

MAX_SCHEDULES = 500
"""Only the schedules that are due first are shown."""
NAMED = 3


@dataclass(frozen=True, kw_only=True)
class PlannedMark:
    """A planned run of a job, or several in adjacent spans."""

    job: str
    task: str
    first: datetime
    end: datetime
    """The end of the mark."""
    count: int
    schedules: Mapping[int, str]
    """The names of the schedules, by ID."""

    @property
    def title(self) -> str:
        """For example, ``hello: planned for 2026-11-28 03:00:00 CET by the schedule “nightly”``."""
        names = [f"“{name}”" for name in sorted(self.schedules.values())]
        if len(names) > NAMED:
            names = [*names[: NAMED - 1], f"{len(names) - NAMED + 1} more"]
        by = f"by the schedule{'' if len(self.schedules) == 1 else 's'} {listed(names)}"
        if self.count == 1:
            return f"{self.job}: planned for {formats.exact(self.first)} {by}"
        between = f"between {formats.exact(self.first)} and {formats.exact(self.end)}"
        return f"{self.job}: {self.count} runs planned {between} {by}"


class ScheduleUrls:
    """Builds the URLs of many marks quickly, by calling Django's URL resolver once per page type."""

    def __init__(self) -> None:
        self._page = page_template("django_celery_beat_periodictask_change")
        self._list = page_url("django_celery_beat_periodictask_changelist")

    def of(self, mark: PlannedMark) -> str:
        """The schedule's page, or the list of the job's schedules."""
        if len(mark.schedules) == 1:
            return self._page.format(*mark.schedules)
        return f"{self._list}?{urlencode({'job': mark.task})}"


@dataclass(frozen=True, kw_only=True)
class PlannedRuns:
    marks: Sequence[PlannedMark]
    is_complete: bool
    """Whether all schedules that are due in this period are included."""


def planned_runs(edges: Sequence[datetime]) -> PlannedRuns:
    """The planned runs of all jobs. The first edge must be now."""
    found = upcoming(edges, limit=MAX_SCHEDULES)
    by_task: dict[str, list[UpcomingStarts]] = {}
    for each in found.schedules:
        by_task.setdefault(each.task, []).append(each)
    marks = [mark for task, schedules in by_task.items() for mark in _marks(task, schedules, edges)]
    return PlannedRuns(marks=marks, is_complete=found.is_complete)


def _marks(
    task: str, schedules: Iterable[UpcomingStarts], edges: Sequence[datetime]
) -> Iterator[PlannedMark]:
    job = registry.of_task(task)
    by_place: dict[int, list[UpcomingStarts]] = {}
    for schedule in schedules:
        for place in schedule.starts:
            by_place.setdefault(place, []).append(schedule)
    width, group = edges[1] - edges[0], list[PlannedMark]()
    for place in sorted(by_place):
        starts = [schedule.starts[place] for schedule in by_place[place]]
        first, densest = min(each.first for each in starts), max(each.count for each in starts)
        mark = PlannedMark(
            job=job.name if job else task,
            task=task,
            first=first,
            # Several runs of a schedule fill their span, so that its next run joins the same mark.
            end=first + width if densest == 1 else edges[place + 1] + width / (densest - 1),
            count=sum(each.count for each in starts),
            schedules={schedule.schedule_id: schedule.name for schedule in by_place[place]},
        )
        if group and mark.first >= group[-1].end:
            yield _join(group)
            group = []
        group.append(mark)
    if group:
        yield _join(group)


def _join(group: Sequence[PlannedMark]) -> PlannedMark:
    """Combine marks, which must be in chronological order."""
    return replace(
        group[0],
        end=group[-1].end,
        count=sum(mark.count for mark in group),
        schedules={pk: name for mark in group for pk, name in mark.schedules.items()},
    )
