"""The week ahead under *Schedules*: how many runs start in each hour, and which schedules start them.

It answers when it is crowded and when a deployment disturbs least. Starts are counted, by the forecast; how
long runs take is not known in advance. A page costs the same few queries whatever the number of schedules.
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

from jobledger.admin import rights
from jobledger.schedules.upcoming import upcoming

DAYS = 7
MAX_SCHEDULES = 2000
"""Those that are due first."""
NAMED, LISTED = 6, 200
"""How many schedules a cell's title names, and how many are listed below the table."""
LEVELS = 5
# Where a zone is ahead of UTC by half an hour, or its clock changes by as much, hours begin in between.
_SPAN = timedelta(minutes=30)


class ScheduleStarts(NamedTuple):
    """What one schedule starts in an hour."""

    schedule_id: int
    name: str
    starts: int


@dataclass(frozen=True, kw_only=True)
class Hour:
    """An hour of the local clock; one that comes twice is one."""

    day: date
    hour: int
    counts: Mapping[int, int]
    """How many runs each schedule starts, by its id."""
    names: Mapping[int, str]
    level: int = 0
    """From 0, no starts, to the busiest."""

    @cached_property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def key(self) -> str:
        """For the page's URL."""
        return f"{self.day:%Y-%m-%d}T{self.hour:02}"

    @property
    def name(self) -> str:
        """``Sat 28 Nov, 03:00 to 04:00``."""
        return f"{self.day:%a %d %b}, {self.hour:02}:00 to {self.hour + 1:02}:00"

    @property
    def short_count(self) -> str:
        """It has room for four characters."""
        if self.count < 1000:
            return str(self.count)
        return f"{self.count / 1000:.1f}k" if self.count < 9950 else f"{self.count / 1000:.0f}k"

    @property
    def starts(self) -> str:
        return _starts(self.count)

    @property
    def title(self) -> str:
        """With the schedules that start most."""
        return f"{self.name}: {self.starts}. {self.named(self.counts)}"

    @property
    def listed(self) -> list[ScheduleStarts]:
        """Those that start most first."""
        starts = (ScheduleStarts(pk, self.names[pk], count) for pk, count in self.counts.items())
        return nsmallest(LISTED, starts, key=lambda each: (-each.starts, each.name))

    @property
    def not_listed(self) -> int:
        return max(len(self.counts) - LISTED, 0)

    def named(self, schedules: Collection[int]) -> str:
        """Those of them that start most: ``a (60), b (2) and 3 more``."""
        first = nlargest(NAMED, schedules, key=self.counts.__getitem__)
        more = len(schedules) - len(first)
        names = ", ".join(f"{self.names[pk]} ({self.counts[pk]:,})" for pk in first)
        return names + (f" and {more} more" if more else "")


@dataclass(frozen=True, kw_only=True)
class Week:
    """The hours ahead, the first of which has begun."""

    hours: Sequence[Hour]
    is_complete: bool
    """Whether all schedules that are due in time were counted."""

    @property
    def days(self) -> list[tuple[date, list[Hour | None]]]:
        """A row for each day with all hours of the clock; None before now, after the end and in a gap."""
        by_place = {(hour.day, hour.hour): hour for hour in self.hours}
        days = dict.fromkeys(hour.day for hour in self.hours)
        return [(day, [by_place.get((day, hour)) for hour in range(24)]) for day in days]

    @property
    def busiest(self) -> Hour | None:
        """None if nothing starts at all."""
        found = max(self.hours, key=lambda hour: hour.count)
        return found if found.count else None

    @property
    def constant(self) -> str:
        """What is in every count: ``2 schedules start runs in every hour: a (60), b (1)``; or empty."""
        always = set.intersection(*(set(hour.counts) for hour in self.hours[1:]))
        if not always:
            return ""
        what = "1 schedule starts" if len(always) == 1 else f"{len(always)} schedules start"
        return f"{what} runs in every hour: {self.hours[1].named(always)}"

    @property
    def quietest(self) -> str:
        """The longest time with next to no starts: ``Sun 29 Nov, 05:00 to 08:00 (3 hours), no starts``."""
        whole = self.hours[1:]
        counts = [hour.count for hour in whole]
        # Where there is no hour without any, of little more than the least.
        most = min(counts) and min(counts) + math.ceil((max(counts) - min(counts)) / 10)
        stretches = groupby(whole, key=lambda hour: hour.count <= most)
        quiet = max((list(hours) for is_quiet, hours in stretches if is_quiet), key=len)
        first, last = quiet[0], quiet[-1]
        end = f"{last.hour + 1:02}:00"
        if last.day != first.day:
            end = f"{last.day:%a %d %b}, {end}"
        length = "1 hour" if len(quiet) == 1 else f"{len(quiet)} hours"
        least = max(hour.count for hour in quiet)
        starts = "no starts" if not least else f"at most {_starts(least)} an hour"
        return f"{first.day:%a %d %b}, {first.hour:02}:00 to {end} ({length}), {starts}"


def urls(site: AdminSite) -> list[URLPattern]:
    """Below the list of schedules."""

    def week(request: HttpRequest) -> HttpResponse:
        return _week_view(site, request)

    return [path("week/", site.admin_view(require_safe(week)), name="jobledger_week")]


def week_ahead(now: datetime) -> Week:
    """Of all schedules, in the current time zone."""
    hours, is_complete = _hours(now, _edges(now))
    # Of the first hour a part is over.
    whole = [hour.count for hour in hours[1:]]
    levels = [_level(hour.count, min(whole), max(whole)) for hour in hours]
    return Week(
        hours=[replace(hour, level=level) for hour, level in zip(hours, levels, strict=True)],
        is_complete=is_complete,
    )


def _week_view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    if not rights.may_view_schedules(request.user):
        raise PermissionDenied
    week, key = week_ahead(timezone.now()), request.GET.get("hour", "")
    chosen = next((hour for hour in week.hours if hour.key == key), None)
    context: dict[str, Any] = {
        **site.each_context(request),
        "title": "Week",
        "week": week,
        "chosen": chosen,
        "clock": range(24),
        "levels": range(1, LEVELS + 1),
        "most_schedules": MAX_SCHEDULES,
        "zone": timezone.get_current_timezone_name(),
    }
    return TemplateResponse(request, "jobledger/schedules/week.html", context)


def _edges(now: datetime) -> list[datetime]:
    """Now, then every half hour of the local clock, to the beginning of the same hour in a week."""
    local = timezone.localtime(now)
    begin = local.replace(minute=0, second=0, microsecond=0)
    # By the clock on the wall, also where that changes.
    end = (begin + timedelta(days=DAYS)).astimezone(UTC)
    edge, edges = begin.astimezone(UTC), [now.astimezone(UTC)]
    while edge < end:
        edge += _SPAN
        if edge > now:
            edges.append(min(edge, end))
    return edges


def _hours(now: datetime, edges: Sequence[datetime]) -> tuple[list[Hour], bool]:
    found = upcoming(edges, limit=MAX_SCHEDULES)
    places = [(local.date(), local.hour) for local in map(timezone.localtime, edges[:-1])]
    counts: dict[tuple[date, int], dict[int, int]] = {place: {} for place in places}
    for schedule in found.schedules:
        for span, starts in schedule.starts.items():
            of_hour = counts[places[span]]
            of_hour[schedule.schedule_id] = of_hour.get(schedule.schedule_id, 0) + starts.count
    names = {schedule.schedule_id: schedule.name for schedule in found.schedules}
    hours = [Hour(day=day, hour=hour, counts=of_hour, names=names) for (day, hour), of_hour in counts.items()]
    return hours, found.is_complete


def _level(count: int, least: int, most: int) -> int:
    """On a logarithmic scale above what is in every hour, which a schedule that never rests would hide."""
    if not count:
        return 0
    above = min(max(count, least), most) - least
    return 1 + int((LEVELS - 0.001) * math.log1p(above) / math.log1p(max(most - least, 1)))


def _starts(count: int) -> str:
    return {0: "no starts", 1: "1 start"}.get(count, f"{count:,} starts")
