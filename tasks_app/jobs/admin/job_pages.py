"""What the pages of jobs show, read for one person: nobody is shown what they may not see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django_celery_beat.models import PeriodicTask

from tasks_app.jobs.admin import (
    job_facts,
    job_figures,
    marks,
    moments,
    rights,
    schedule_rows,
)
from tasks_app.jobs.admin.job_figures import WINDOW, Figures, Schedules
from tasks_app.jobs.admin.options_form import OptionsForm
from tasks_app.jobs.admin.run_addresses import RunAddresses
from tasks_app.jobs.admin.run_list import Row
from tasks_app.jobs.admin.run_search import light
from tasks_app.jobs.defining import registry
from tasks_app.jobs.defining.registry import Job
from tasks_app.jobs.models import Run

MOST_SCHEDULES = 50
LAST_RUNS = 15


@dataclass(frozen=True, kw_only=True)
class JobLine:
    """A job in the list."""

    job: Job
    address: str
    summary: str
    last_run: SafeString
    last_run_address: str
    last_run_at: SafeString
    success: str
    success_in_full: str
    usually: str
    schedules: str
    next_slot: SafeString
    run_address: str
    """Where it is started; empty for who may not."""


@dataclass(frozen=True, kw_only=True)
class RunLine:
    """One of a job's last runs."""

    row: Row
    """As the list of runs shows it."""
    address: str
    started: SafeString
    again_address: str
    """Where it is started again with its options; empty for who may not."""


@dataclass(frozen=True, kw_only=True)
class ScheduleLine:
    """One of a job's schedules."""

    name: str
    address: str
    times: str
    """In plain language."""
    state: SafeString
    next_slot: SafeString
    why_broken: str


def may_see(user: rights.User, job: Job) -> bool:
    """Whether the user may look at the job: who may see its runs, or start it."""
    return rights.may_view(user) or rights.may_start(user, job.name)


def list_context(user: rights.User, search: str, now: datetime) -> dict[str, Any]:
    """The list: every job that the user may look at and whose name or help has the words."""
    seen = [job for job in registry.all_jobs().values() if may_see(user, job)]
    jobs = [job for job in seen if search.casefold() in f"{job.task_name} {job.help}".casefold()]
    figures = job_figures.figures(job.name for job in jobs) if rights.may_view(user) else {}
    schedules = job_figures.schedules(jobs) if rights.may_view_schedules(user) else {}
    return {
        "jobs": [_job_line(user, job, figures, schedules, now) for job in jobs],
        "search": search,
        "is_empty": not seen,
        "window": WINDOW,
    }


def page_context(user: rights.User, job: Job, now: datetime) -> dict[str, Any]:
    """A job's page."""
    schedules = _schedules(job) if rights.may_view_schedules(user) else None
    return {
        "job": job,
        "facts": job_facts.facts(job),
        "usage": job_facts.usage(job),
        "form": OptionsForm(job, {}),
        "run_address": _run_address(user, job),
        "may_add_schedule": rights.may_add_schedules(user),
        "schedules": _schedule_lines((schedules or [])[:MOST_SCHEDULES], now),
        "may_see_schedules": schedules is not None,
        "more_schedules": len(schedules or ()) > MOST_SCHEDULES,
        **(_runs_context(user, job, now) if rights.may_view(user) else {"may_see_runs": False}),
    }


def success_text(figures: Figures) -> str:
    """``97 %``; empty where nothing was carried out."""
    return f"{100 * figures.succeeded // figures.executed} %" if figures.executed else ""


def success_in_full(figures: Figures) -> str:
    """How many of how many."""
    counts = {"good": figures.succeeded, "all": figures.executed}
    return _("%(good)d of the last %(all)d succeeded") % counts if figures.executed else ""


def _runs_context(user: rights.User, job: Job, now: datetime) -> dict[str, Any]:
    figures = job_figures.figures([job.name])[job.name]
    newest = [run.pk for run in figures.runs[:LAST_RUNS]]
    last = light(Run.objects.filter(pk__in=newest)).order_by("-queued_at", "-pk")
    return {
        "may_see_runs": True,
        "success": success_text(figures),
        "success_in_full": success_in_full(figures),
        "usually": _duration_text(figures),
        "runs": [_run_line(user, job, run, now) for run in last],
        "all_runs_address": RunAddresses().runs(job=job.name),
    }


def _job_line(
    user: rights.User,
    job: Job,
    all_figures: Mapping[str, Figures],
    all_schedules: Mapping[str, Schedules],
    now: datetime,
) -> JobLine:
    figures = all_figures.get(job.name, Figures())
    schedules = all_schedules.get(job.name, Schedules())
    last = figures.last
    return JobLine(
        job=job,
        address=reverse("admin:jobs_job", args=[job.name]),
        summary=job_facts.summary(job),
        last_run=marks.of_status(last.status) if last else SafeString(""),
        last_run_address=reverse("admin:jobs_run_change", args=[last.pk]) if last else "",
        last_run_at=moments.when(last.queued_at, now) if last else SafeString(""),
        success=success_text(figures),
        success_in_full=success_in_full(figures),
        usually=_duration_text(figures),
        schedules=_schedules_text(schedules),
        next_slot=moments.when(schedules.next_slot, now) if schedules.next_slot else SafeString(""),
        run_address=_run_address(user, job),
    )


def _run_line(user: rights.User, job: Job, run: Run, now: datetime) -> RunLine:
    again = _run_address(user, job)
    return RunLine(
        row=Row(run=run, now=now),
        address=reverse("admin:jobs_run_change", args=[run.pk]),
        started=moments.when(run.started_at or run.queued_at, now),
        again_address=f"{again}?run={run.pk}" if again else "",
    )


def _schedules(job: Job) -> list[PeriodicTask]:
    found: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(task=job.task_name)
    return list(found.select_related("next_slot").order_by("name")[: MOST_SCHEDULES + 1])


def _schedule_lines(schedules: Sequence[PeriodicTask], now: datetime) -> list[ScheduleLine]:
    rows = schedule_rows.of(schedules, now, with_runs=False)
    return [
        ScheduleLine(
            name=schedule.name,
            address=reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk]),
            times=row.times,
            state=_state(row),
            next_slot=moments.when(row.next_slot.slot if row.next_slot else None, now),
            why_broken=row.broken,
        )
        for schedule, row in ((each, rows[each.pk]) for each in schedules)
    ]


def _state(row: schedule_rows.Row) -> SafeString:
    if row.pauses and row.standing.can_be_paused:
        return marks.mark("paused", _("paused"))
    return marks.mark(row.standing.value, row.standing.label)


def _schedules_text(schedules: Schedules) -> str:
    off = schedules.count - schedules.on
    return f"{schedules.on}" + (_(" (%d off)") % off if off else "") if schedules.count else ""


def _duration_text(figures: Figures) -> str:
    return moments.duration(figures.usual_duration) if figures.usual_duration is not None else ""


def _run_address(user: rights.User, job: Job) -> str:
    return reverse("admin:jobs_job_run", args=[job.name]) if rights.may_start(user, job.name) else ""
