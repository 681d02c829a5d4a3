"""The week view under *Schedules*: how many runs start in each hour, and which schedules start them.

It shows the busiest hours, and the best time for a deployment. The counts are forecast starts: the duration
of runs is not known in advance. The number of queries does not depend on the number of schedules.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from heapq import nlargest, nsmallest
from itertools import groupby
from typing import Any, NamedTuple

from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.http import require_safe
from django_celery_beat.models import PeriodicTask

from jobledger.admin import rights
from jobledger.admin.schedules.editing.preview import left_out_words
from jobledger.admin_site import page_view
from jobledger.models import After
from jobledger.schedules.chains import links
from jobledger.schedules.forecasts.upcoming import Upcoming, UpcomingLeftOut, upcoming
from jobledger.schedules.words import chain_words

DAYS = 7
MAX_SCHEDULES = 2000
"""Only the schedules that are due first are counted."""
NAMED, LISTED = 6, 200
"""The maximum number of schedules in the title of a cell, and in the list below the table."""
LEVELS = 5
# Half an hour, for time zones whose offset from UTC, or whose clock change, is not a whole hour.
_SPAN = timedelta(minutes=30)


class ScheduleStarts(NamedTuple):
    """The number of runs that a schedule starts in an hour."""

    schedule_id: int
    name: str
    starts: int


@dataclass(frozen=True, kw_only=True)
class Hour:
    """An hour of local time. An hour that is repeated by a clock change is combined into one."""

    day: date
    hour: int
    counts: Mapping[int, int]
    """The number of runs that each schedule starts, by schedule ID."""
    names: Mapping[int, str]
    level: int = 0
    """From 0 (no starts) to ``LEVELS`` (busiest)."""

    @cached_property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def key(self) -> str:
        """The key of the hour in the page's URL."""
        return f"{self.day:%Y-%m-%d}T{self.hour:02}"

    @property
    def name(self) -> str:
        """For example, ``Sat 28 Nov, 03:00 to 04:00``."""
        return f"{self.day:%a %d %b}, {self.hour:02}:00 to {self.hour + 1:02}:00"

    @property
    def short_count(self) -> str:
        """The count in at most four characters."""
        if self.count < 1000:
            return str(self.count)
        return f"{self.count / 1000:.1f}k" if self.count < 9950 else f"{self.count / 1000:.0f}k"

    @property
    def starts(self) -> str:
        return _starts(self.count)

    @property
    def title(self) -> str:
        """The count, with the schedules that start the most runs."""
        return f"{self.name}: {self.starts}. {self.summary(self.counts)}"

    @property
    def listed(self) -> list[ScheduleStarts]:
        """The schedules that start the most runs, in descending order."""
        starts = (ScheduleStarts(pk, self.names[pk], count) for pk, count in self.counts.items())
        return nsmallest(LISTED, starts, key=lambda each: (-each.starts, each.name))

    @property
    def not_listed(self) -> int:
        return max(len(self.counts) - LISTED, 0)

    def summary(self, schedules: Collection[int]) -> str:
        """Which of these schedules start the most runs: ``a (60), b (2) and 3 more``."""
        first = nlargest(NAMED, schedules, key=self.counts.__getitem__)
        more = len(schedules) - len(first)
        names = ", ".join(f"{self.names[pk]} ({self.counts[pk]:,})" for pk in first)
        return names + (f" and {more} more" if more else "")


@dataclass(frozen=True, kw_only=True)
class Week:
    """The hours of the week ahead. The first one is the current hour."""

    hours: Sequence[Hour]
    is_complete: bool
    """Whether all schedules that are due within the week are counted."""
    left_out: Sequence[UpcomingLeftOut] = ()
    more_left_out: int = 0
    """How many more there are, which are not listed."""

    @property
    def left_out_texts(self) -> list[tuple[UpcomingLeftOut, str]]:
        """What calendars leave out of each schedule, when and why."""
        zone = timezone.get_current_timezone()
        return [(each, left_out_words(each.found, zone)) for each in self.left_out]

    @property
    def days(self) -> list[tuple[date, list[Hour | None]]]:
        """The hours of each day; None before now, after the end, or if skipped by a clock change."""
        by_place = {(hour.day, hour.hour): hour for hour in self.hours}
        days = dict.fromkeys(hour.day for hour in self.hours)
        return [(day, [by_place.get((day, hour)) for hour in range(24)]) for day in days]

    @property
    def busiest(self) -> Hour | None:
        """None if no runs start at all."""
        found = max(self.hours, key=lambda hour: hour.count)
        return found if found.count else None

    @property
    def constant(self) -> str:
        """For example, ``2 schedules start runs in every hour: a (60), b (1)``; may be empty."""
        in_every_hour = set.intersection(*(set(hour.counts) for hour in self.hours[1:]))
        if not in_every_hour:
            return ""
        subject = "1 schedule starts" if len(in_every_hour) == 1 else f"{len(in_every_hour)} schedules start"
        return f"{subject} runs in every hour: {self.hours[1].summary(in_every_hour)}"

    @property
    def quietest(self) -> str:
        """The longest period with few starts: ``Sun 29 Nov, 05:00 to 08:00 (3 hours), no starts``."""
        whole = self.hours[1:]
        counts = [hour.count for hour in whole]
        # If every hour has starts, hours with few more than the minimum count as quiet.
        threshold = min(counts) and min(counts) + math.ceil((max(counts) - min(counts)) / 10)
        stretches = groupby(whole, key=lambda hour: hour.count <= threshold)
        quiet = max((list(hours) for is_quiet, hours in stretches if is_quiet), key=len)
        first, last = quiet[0], quiet[-1]
        end = f"{last.hour + 1:02}:00"
        if last.day != first.day:
            end = f"{last.day:%a %d %b}, {end}"
        length = "1 hour" if len(quiet) == 1 else f"{len(quiet)} hours"
        peak = max(hour.count for hour in quiet)
        starts = "no starts" if not peak else f"at most {_starts(peak)} an hour"
        return f"{first.day:%a %d %b}, {first.hour:02}:00 to {end} ({length}), {starts}"


def urls(site: AdminSite) -> list[URLPattern]:
    def week(request: HttpRequest) -> HttpResponse:
        return _week_view(site, request)

    return [path("week/", page_view(site, require_safe(week)), name="jobledger_week")]


def week_ahead(now: datetime) -> Week:
    """The week ahead for all schedules, in the current time zone."""
    hours, found = _hours(now, _edges(now))
    # The first hour is incomplete.
    whole_hours = [hour.count for hour in hours[1:]]
    levels = [_level(hour.count, min(whole_hours), max(whole_hours)) for hour in hours]
    return Week(
        hours=[replace(hour, level=level) for hour, level in zip(hours, levels, strict=True)],
        is_complete=found.is_complete,
        left_out=found.left_out[:LISTED],
        more_left_out=max(len(found.left_out) - LISTED, 0),
    )


def _week_view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    if not rights.may_view_schedules(request.user):
        raise PermissionDenied
    week, key, chains = week_ahead(timezone.now()), request.GET.get("hour", ""), links.chains()
    chosen = next((hour for hour in week.hours if hour.key == key), None)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Week",
        "week": week,
        "chosen": chosen,
        "clock": range(24),
        "levels": range(1, LEVELS + 1),
        "max_schedules": MAX_SCHEDULES,
        "zone": timezone.get_current_timezone_name(),
        "chains": [(each, _chain_words(each, names)) for each, names in chains[:LISTED]],
        "more_chains": max(len(chains) - LISTED, 0),
    }
    return TemplateResponse(request, "jobledger/schedules/week.html", context)


def _chain_words(schedule: PeriodicTask, after: Sequence[str]) -> str:
    return chain_words(after, after_failure=schedule.policy.after == After.END)


def _edges(now: datetime) -> list[datetime]:
    """Now and every following half hour of local time, until the start of the same hour in a week."""
    local = timezone.localtime(now)
    begin = local.replace(minute=0, second=0, microsecond=0)
    # In wall-clock time, even if the clock changes during the week.
    end = (begin + timedelta(days=DAYS)).astimezone(UTC)
    edge, edges = begin.astimezone(UTC), [now.astimezone(UTC)]
    while edge < end:
        edge += _SPAN
        if edge > now:
            edges.append(min(edge, end))
    return edges


def _hours(now: datetime, edges: Sequence[datetime]) -> tuple[list[Hour], Upcoming]:
    found = upcoming(edges, limit=MAX_SCHEDULES)
    places = [(local.date(), local.hour) for local in map(timezone.localtime, edges[:-1])]
    counts: dict[tuple[date, int], dict[int, int]] = {place: {} for place in places}
    for schedule in found.schedules:
        for span, starts in schedule.starts.items():
            of_hour = counts[places[span]]
            of_hour[schedule.schedule_id] = of_hour.get(schedule.schedule_id, 0) + starts.count
    names = {schedule.schedule_id: schedule.name for schedule in found.schedules}
    hours = [Hour(day=day, hour=hour, counts=of_hour, names=names) for (day, hour), of_hour in counts.items()]
    return hours, found


def _level(count: int, least: int, most: int) -> int:
    """Logarithmic, above the minimum: a schedule that runs all the time would otherwise hide the others."""
    if not count:
        return 0
    above = min(max(count, least), most) - least
    return 1 + int((LEVELS - 0.001) * math.log1p(above) / math.log1p(max(most - least, 1)))


def _starts(count: int) -> str:
    return {0: "no starts", 1: "1 start"}.get(count, f"{count:,} starts")
