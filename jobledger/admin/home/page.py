"""The admin's home: what went wrong, what runs, what comes next, and whether the service is well.

All of it is read at once in a fixed number of queries, each of them bounded by an index, however many
runs and schedules there are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.admin import AdminSite
from django.db.models import Count, Exists, Max, OuterRef, Q, Subquery
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from jobledger.admin import display, pauses, rights
from jobledger.admin.display import RunUrls
from jobledger.admin.home import timeline
from jobledger.admin_site import JobsAdminSite
from jobledger.models import PROBLEMS, SUCCESSES, NextSlot, Pause, Run, Status
from jobledger.runs.execution import progress_figures
from jobledger.runs.worker import health

SHOWN = 12
MOST_ROWS = 40
SPANS = {"24h": timedelta(hours=24), "7d": timedelta(days=7)}


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What went wrong with one job."""

    job: str
    state: SafeString
    count: int
    last_at: SafeString
    address: str
    is_over: bool
    """Whether the job's newest run has succeeded."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """A run that goes on."""

    run: Run
    since: SafeString
    progress: str


@dataclass(frozen=True, kw_only=True)
class Coming:
    """A slot to come."""

    next_slot: NextSlot
    slot: SafeString
    mark: SafeString | str
    """Where a pause holds it up at the moment; else empty."""


def install(site: AdminSite) -> None:
    """Make it the site's home."""
    if isinstance(site, JobsAdminSite):
        site.home = context
        site.home_urls = urls


def urls(site: AdminSite) -> list[URLPattern]:
    """What the page fetches while it is open."""
    views = {"now": now_view, "timeline": timeline_view}
    return [path(f"home/{name}/", site.admin_view(view), name=f"home_{name}") for name, view in views.items()]


def context(request: HttpRequest) -> dict[str, Any]:
    """What the home's template needs. Who may not look at runs is told so."""
    if not rights.may_view(request.user):
        return {"may_see": False}
    pause = pauses.service_pause(request, timezone.now())
    span = request.GET.get("span", "24h")
    return {"may_see": True, "service": pause, **_now(request.user), **_timeline(span)}


@require_safe
def now_view(request: HttpRequest) -> HttpResponse:
    """The part that moves: it takes its own place every few seconds."""
    if not rights.may_view(request.user):
        return HttpResponse(status=403)
    return render(request, "jobledger/home/now.html", _now(request.user))


@require_safe
def timeline_view(request: HttpRequest) -> HttpResponse:
    """The picture of the time that was asked for: a part of the page, or, without scripts, the page."""
    if not rights.may_view(request.user):
        return HttpResponse(status=403)
    return render(request, "jobledger/home/timeline.html", _timeline(request.GET.get("span", "24h")))


def _now(user: rights.User) -> dict[str, Any]:
    now = timezone.now()
    due = _next_slots(now)
    may_see_schedules = rights.may_view_schedules(user)
    running = Run.objects.filter(status=Status.RUNNING).order_by("-queued_at").defer("traceback")
    return {
        "parts": health.parts(now, due[0].due_at if due else None),
        "troubles": troubles(now),
        "running": [_running(run, now) for run in running[:SHOWN]],
        "may_see_schedules": may_see_schedules,
        "may_add_schedules": rights.may_add_schedules(user),
        "broken": _broken() if may_see_schedules else (),
        "coming": [_coming(slot, now) for slot in due] if may_see_schedules else (),
        "read_at": display.exact(now),
    }


def troubles(now: datetime) -> list[Trouble]:
    """Per job and state what went wrong in the last 24 hours, the latest first."""
    since = now - SPANS["24h"]
    found = list(
        Run.objects.filter(status__in=PROBLEMS, queued_at__gte=since)
        .values("job", "status")
        .annotate(runs=Count("pk"), last_at=Max("queued_at"))
        .order_by("-last_at")[:SHOWN]
    )
    over = _jobs_that_succeeded_last({each["job"] for each in found}, since)
    return [_trouble(each, now, is_over=each["job"] in over) for each in found]


def _jobs_that_succeeded_last(jobs: set[str], since: datetime) -> set[str]:
    """A small question for each of a few jobs, all of them in one query."""
    ended = Run.objects.filter(queued_at__gte=since, status__in=(*PROBLEMS, *SUCCESSES))
    newest: list[Any] = [Subquery(ended.filter(job=job).newest_first().values("pk")[:1]) for job in jobs]
    good = Run.objects.filter(pk__in=newest, status__in=SUCCESSES)
    return set(good.values_list("job", flat=True))


def _trouble(found: Mapping[str, Any], now: datetime, *, is_over: bool) -> Trouble:
    address = RunUrls().filtered(job=found["job"], status=found["status"], since=now - SPANS["24h"])
    return Trouble(
        job=found["job"],
        state=display.status_mark(found["status"]),
        count=found["runs"],
        last_at=display.when(found["last_at"], now),
        address=address,
        is_over=is_over,
    )


def _running(run: Run, now: datetime) -> Running:
    return Running(run=run, since=display.when(run.started_at, now), progress=progress_figures.described(run))


def _broken() -> Sequence[NextSlot]:
    found = NextSlot.objects.filter(due_at=None).exclude(broken="").select_related("schedule")
    return list(found.order_by("pk")[:SHOWN])


def _next_slots(now: datetime) -> Sequence[NextSlot]:
    held = Pause.objects.open_at(now).filter(Q(schedule=OuterRef("schedule")) | Q(schedule=None))
    due = NextSlot.objects.filter(due_at__isnull=False).select_related("schedule")
    return list(due.annotate(is_paused=Exists(held)).order_by("due_at")[:SHOWN])


def _coming(next_slot: NextSlot, now: datetime) -> Coming:
    mark = display.mark("paused", "paused") if getattr(next_slot, "is_paused", False) else ""
    return Coming(next_slot=next_slot, slot=display.exactly_when(next_slot.due_at, now), mark=mark)


def _timeline(name: str) -> dict[str, Any]:
    end = timezone.localtime()
    window = timeline.Window(begin=end - SPANS.get(name, SPANS["24h"]), end=end)
    spans = timeline.spans(window)
    rows = timeline.rows(spans, window)
    title = "Runs of the last 7 days" if name == "7d" else "Runs of the last 24 hours"
    shown = rows[:MOST_ROWS]
    return {
        "picture": timeline.picture(shown, window, title, RunUrls()) if shown else "",
        "span": name if name in SPANS else "24h",
        "more_jobs": len(rows) - len(shown),
        "zone": end.tzname(),
    }
