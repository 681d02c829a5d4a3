"""What the pages of jobs show, read for one person: nobody is shown what they may not see."""

from argparse import SUPPRESS
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger.admin import display, recent_runs, rights
from jobledger.admin.display import RunAddresses
from jobledger.admin.options.form import OptionsForm
from jobledger.admin.recent_runs import WINDOW, Figures, Schedules
from jobledger.admin.runs.listing import Row
from jobledger.admin.runs.search import light
from jobledger.admin.schedules import status
from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, JobDeclaration
from jobledger.jobs.options.argparse_internals import format_usage
from jobledger.jobs.options.parser import Option, options_of
from jobledger.jobs.registry import Job
from jobledger.models import Run

USAGE_WIDTH = 88


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One thing that is declared."""

    name: str
    text: str


def facts(job: Job) -> list[Fact]:
    """How the job behaves, in the order in which somebody asks."""
    declared = job.declaration
    found = {
        "Overlap": _overlap(declared),
        "Time limit": _time_limit(declared),
        "Retries": _retries(declared),
        "When its process dies": _when_lost(declared),
    }
    return [Fact(name=name, text=text) for name, text in found.items()]


def summary(job: Job) -> str:
    """The first line of the help."""
    return next((line.strip() for line in job.help.splitlines() if line.strip()), "")


def usage(job: Job) -> str:
    """argparse's usage, without what belongs to every command."""
    parser = job.create_parser()
    options = [option for dest, option in options_of(parser).items() if dest != "verbosity"]
    actions = [action for option in options for action in option.actions if action.help is not SUPPRESS]
    return format_usage(parser, actions, width=USAGE_WIDTH)


def dry_run(job: Job) -> Option | None:
    """The flag ``--dry-run``, where the job has one."""
    for option in options_of(job.create_parser()).values():
        if any(flag.string == "--dry-run" for flag in option.flags):
            return option
    return None


def _overlap(declared: type[JobDeclaration]) -> str:
    waiting = (
        "Never two at once: one run waits for its turn, more are skipped."
        if declared.max_queued == 1
        else f"Never two at once: up to {declared.max_queued} runs wait for their turn, more are skipped."
    )
    words = {
        Concurrency.FORBID: "Never two at once: what is due while it runs is skipped.",
        Concurrency.QUEUE: waiting,
        Concurrency.REPLACE: "Never two at once: what is due while it runs takes its place.",
        Concurrency.ALLOW: "Any number at once.",
    }
    is_narrowed = declared.concurrency_key.__func__ is not JobDeclaration.concurrency_key.__func__  # type: ignore[attr-defined]
    narrowed = "Two count as the same only where the job's own key, made from its options, is the same."
    is_guarded = declared.concurrency is not Concurrency.ALLOW
    return " ".join([words[declared.concurrency], *([narrowed] if is_narrowed and is_guarded else [])])


def _time_limit(declared: type[JobDeclaration]) -> str:
    if declared.time_limit is None:
        return "None: it may take as long as it likes."
    limit, grace = map(display.duration, (declared.time_limit, declared.time_limit_grace))
    return f"Ended after {limit}; killed if its cleanup takes longer than {grace}."


def _retries(declared: type[JobDeclaration]) -> str:
    if not declared.max_retries:
        return "None: a failure is final."
    pause = display.duration(declared.retry_backoff)
    if declared.max_retries == 1:
        return f"Tried once more after a failure, after {pause}."
    times = f"Tried up to {declared.max_retries} times more after a failure"
    return f"{times}: after {pause}, then each after twice as long."


def _when_lost(declared: type[JobDeclaration]) -> str:
    if declared.restart_when_lost:
        return "Starts again."
    return "Is recorded as lost, and does not start again by itself."


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
    figures = recent_runs.figures(job.name for job in jobs) if rights.may_view(user) else {}
    schedules = recent_runs.schedules(jobs) if rights.may_view_schedules(user) else {}
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
        "facts": facts(job),
        "usage": usage(job),
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
    return f"{figures.succeeded} of the last {figures.executed} succeeded" if figures.executed else ""


def _runs_context(user: rights.User, job: Job, now: datetime) -> dict[str, Any]:
    figures = recent_runs.figures([job.name])[job.name]
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
        address=reverse("admin:jobledger_job", args=[job.name]),
        summary=summary(job),
        last_run=display.of_status(last.status) if last else SafeString(""),
        last_run_address=reverse("admin:jobledger_run_change", args=[last.pk]) if last else "",
        last_run_at=display.when(last.queued_at, now) if last else SafeString(""),
        success=success_text(figures),
        success_in_full=success_in_full(figures),
        usually=_duration_text(figures),
        schedules=_schedules_text(schedules),
        next_slot=display.when(schedules.next_slot, now) if schedules.next_slot else SafeString(""),
        run_address=_run_address(user, job),
    )


def _run_line(user: rights.User, job: Job, run: Run, now: datetime) -> RunLine:
    again = _run_address(user, job)
    return RunLine(
        row=Row(run=run, now=now),
        address=reverse("admin:jobledger_run_change", args=[run.pk]),
        started=display.when(run.started_at or run.queued_at, now),
        again_address=f"{again}?run={run.pk}" if again else "",
    )


def _schedules(job: Job) -> list[PeriodicTask]:
    found: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(task=job.task_name)
    return list(found.select_related("next_slot").order_by("name")[: MOST_SCHEDULES + 1])


def _schedule_lines(schedules: Sequence[PeriodicTask], now: datetime) -> list[ScheduleLine]:
    rows = status.of(schedules, now, with_runs=False)
    return [
        ScheduleLine(
            name=schedule.name,
            address=reverse("admin:django_celery_beat_periodictask_change", args=[schedule.pk]),
            times=row.times,
            state=_state(row),
            next_slot=display.when(row.next_slot.slot if row.next_slot else None, now),
            why_broken=row.broken,
        )
        for schedule, row in ((each, rows[each.pk]) for each in schedules)
    ]


def _state(row: status.Row) -> SafeString:
    if row.pauses and row.standing.can_be_paused:
        return display.mark("paused", "paused")
    return display.mark(row.standing.value, row.standing.label)


def _schedules_text(schedules: Schedules) -> str:
    off = schedules.count - schedules.on
    return f"{schedules.on}" + (f" ({off} off)" if off else "") if schedules.count else ""


def _duration_text(figures: Figures) -> str:
    return display.duration(figures.usual_duration) if figures.usual_duration is not None else ""


def _run_address(user: rights.User, job: Job) -> str:
    return reverse("admin:jobledger_job_run", args=[job.name]) if rights.may_start(user, job.name) else ""
