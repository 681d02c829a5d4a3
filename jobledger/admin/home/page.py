"""The admin's home page: failures, running jobs, upcoming runs and the health of the service.

It takes a constant number of indexed queries, regardless of the number of runs and schedules. The timeline
takes longer than all the rest, so that the page fetches it once it is displayed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.db.models import Count, Exists, Max, OuterRef, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe
from django_celery_beat.models import PeriodicTask

from jobledger import clock, formats, health
from jobledger.admin import display, rights
from jobledger.admin.display import RunUrls
from jobledger.admin.home import timeline
from jobledger.admin.home.notices import notices
from jobledger.admin.home.planned import planned_runs
from jobledger.admin.home.timeline import TimeAxis
from jobledger.admin_site import page_url
from jobledger.health.problem import PartName
from jobledger.jobs import registry
from jobledger.models import AWAITS_RESULT, PROBLEMS, SUCCESSES, NextSlot, Pause, Run, Status
from jobledger.runs.execution import progress

MAX_ROWS = 12
"""The maximum number of rows in each list."""
MAX_JOBS = 40
"""The maximum number of jobs in the timeline."""
PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}
AHEAD = {"24h": timedelta(hours=6), "7d": timedelta(days=2)}
"""How far ahead the timeline shows planned runs, by period."""


@dataclass(frozen=True, kw_only=True)
class ProblemRuns:
    """The runs of a job with one of the problem statuses."""

    job: str
    mark: SafeString
    count: int
    last_at: SafeString
    url: str
    is_over: bool
    """Whether the job has succeeded since."""


@dataclass(frozen=True, kw_only=True)
class Problems:
    """All failed or missed runs."""

    rows: Sequence[ProblemRuns]
    count: int
    not_shown: int
    """How many runs are not included in the rows."""
    url: str
    """The list of exactly these runs."""


@dataclass(frozen=True, kw_only=True)
class ActiveRun:
    run: Run
    since: SafeString
    progress: str


@dataclass(frozen=True, kw_only=True)
class UpcomingRun:
    """The next run of a schedule."""

    schedule: PeriodicTask
    time: SafeString
    mark: SafeString | str
    """Shown if the schedule or the service is paused; otherwise empty."""


def context(request: HttpRequest) -> dict[str, Any]:
    """The template context. Users without permission to view runs see only a message.

    The timeline is included if a period is requested: by a link that works without JavaScript.
    """
    if not rights.may_view(request.user):
        return {"may_see": False}
    has_timeline = "period" in request.GET
    later = _timeline(request) if has_timeline else {}
    return {"may_see": True, "has_timeline": has_timeline, **_now(request.user), **later}


def urls(site: AdminSite) -> list[URLPattern]:
    """The parts of the page that are refreshed while it is open."""
    views = {"now": now_view, "timeline": timeline_view}
    return [path(f"home/{name}/", site.admin_view(view), name=f"home_{name}") for name, view in views.items()]


@require_safe
def now_view(request: HttpRequest) -> HttpResponse:
    """The part that is refreshed every few seconds."""
    if not rights.may_view(request.user):
        return HttpResponse(status=403)
    return render(request, "jobledger/home/now.html", _now(request.user))


@require_safe
def timeline_view(request: HttpRequest) -> HttpResponse:
    """The timeline of the requested period."""
    if not rights.may_view(request.user):
        return HttpResponse(status=403)
    return render(request, "jobledger/home/timeline.html", _timeline(request))


def problems(now: datetime) -> Problems:
    """Failed and missed runs of the last 24 hours by job and status, latest first."""
    since = now - PERIODS["24h"]
    found = list(
        Run.objects.filter(status__in=PROBLEMS, queued_at__gte=since)
        .values("job", "status")
        .annotate(runs=Count("pk"), last_at=Max("queued_at"))
        .order_by("-last_at")
    )
    shown = found[:MAX_ROWS]
    recovered = _recovered_jobs({each["job"] for each in shown}, since)
    rows = [
        ProblemRuns(
            job=each["job"],
            mark=display.status_mark(each["status"]),
            count=each["runs"],
            last_at=display.when(each["last_at"], now),
            url=RunUrls().filtered(job=each["job"], status=each["status"], since=since),
            is_over=each["job"] in recovered,
        )
        for each in shown
    ]
    return Problems(
        rows=rows,
        count=sum(each["runs"] for each in found),
        not_shown=sum(each["runs"] for each in found[MAX_ROWS:]),
        url=RunUrls().filtered(status="problem", since=since),
    )


def _recovered_jobs(jobs: set[str], since: datetime) -> set[str]:
    """The jobs whose newest run succeeded. A single query with a small subquery per job."""
    ended = Run.objects.filter(queued_at__gte=since, status__in=(*PROBLEMS, *SUCCESSES))
    # How an ordinary task ends may be known later.
    ended = ended.exclude(AWAITS_RESULT)
    newest: list[Any] = [Subquery(ended.filter(job=job).newest_first().values("pk")[:1]) for job in jobs]
    return set(Run.objects.filter(pk__in=newest).in_state(*SUCCESSES).values_list("job", flat=True))


def _now(user: rights.User) -> dict[str, Any]:
    now = timezone.now()
    next_slots = _next_slots(now)
    may_see_schedules = rights.may_view_schedules(user)
    found = health.read(clock.now(), server_time=timezone.now())
    return {
        "parts": [part for part in found.parts if may_see_schedules or part.name is not PartName.SCHEDULES],
        "notices": notices(found.problems, user),
        "home_url": page_url("index"),
        "problems": problems(now),
        "active": _active_runs(now),
        "may_see_schedules": may_see_schedules,
        "may_add_schedules": rights.may_add_schedules(user),
        "upcoming": [_upcoming(each, now) for each in next_slots] if may_see_schedules else (),
        "read_at": now,
    }


def _active_runs(now: datetime) -> list[ActiveRun]:
    running = Run.objects.filter(status=Status.RUNNING).order_by("-queued_at").defer("traceback")
    return [
        ActiveRun(run=run, since=display.when(run.started_at, now), progress=progress.described(run))
        for run in running[:MAX_ROWS]
    ]


def _next_slots(now: datetime) -> Sequence[NextSlot]:
    own_pauses = Pause.objects.active_at(now).filter(schedule=OuterRef("schedule"))
    service_pauses = Pause.objects.active_at(now).filter(schedule=None)
    due = NextSlot.objects.filter(due_at__isnull=False).select_related("schedule")
    paused = due.annotate(is_paused=Exists(own_pauses), is_service_paused=Exists(service_pauses))
    # Some are planned earlier, to record what their calendars leave out. More than enough of them are read.
    first = paused.order_by("due_at")[: 3 * MAX_ROWS]
    starting = [each for each in first if each.slot is not None]
    return sorted(starting, key=_starts_at)[:MAX_ROWS]


def _starts_at(next_slot: NextSlot) -> datetime:
    due_at, slot = next_slot.due_at, next_slot.slot
    return max(time for time in (due_at, slot) if time is not None)


def _upcoming(next_slot: NextSlot, now: datetime) -> UpcomingRun:
    is_exempt = registry.runs_while_paused(next_slot.schedule.task)
    is_service_paused = getattr(next_slot, "is_service_paused", False) and not is_exempt
    is_paused = getattr(next_slot, "is_paused", False) or is_service_paused
    return UpcomingRun(
        schedule=next_slot.schedule,
        time=display.exactly_when(_starts_at(next_slot), now),
        mark=display.mark("paused", "paused") if is_paused else "",
    )


def _timeline(request: HttpRequest) -> dict[str, Any]:
    name = request.GET.get("period", "")
    period = name if name in PERIODS else "24h"
    now = timezone.now()
    may_see_schedules = rights.may_view_schedules(request.user)
    end = now + AHEAD[period] if may_see_schedules else now
    begin, now, end = map(timezone.localtime, (now - PERIODS[period], now, end))
    axis = TimeAxis(begin=begin, now=now, end=end)
    planned = planned_runs(axis.spans_ahead()) if may_see_schedules else None
    rows = timeline.job_rows(timeline.read_bars(axis), axis, planned.marks if planned else ())
    return {
        "timeline": timeline.svg(
            rows[:MAX_JOBS], axis, _title(period, with_planned=may_see_schedules), RunUrls()
        )
        if rows
        else "",
        "period": period,
        "more_jobs": max(len(rows) - MAX_JOBS, 0),
        "planned": planned,
        "zone": now.tzname(),
    }


def _title(period: str, *, with_planned: bool) -> str:
    title = f"Runs of the last {formats.duration(PERIODS[period])}"
    return f"{title}, and planned for the next {formats.duration(AHEAD[period])}" if with_planned else title
