"""The contents of the list of jobs and of a job's page, limited by the user's permissions."""

from argparse import SUPPRESS
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.utils.safestring import SafeString
from django_celery_beat.models import PeriodicTask

from jobledger import formats
from jobledger.admin import display, recent_runs, rights
from jobledger.admin.display import RunUrls
from jobledger.admin.duration_chart import duration_chart
from jobledger.admin.options.form import OptionsForm
from jobledger.admin.recent_runs import WINDOW, JobStatistics, ScheduleCounts
from jobledger.admin.runs.listing import ListedRun
from jobledger.admin.runs.search import without_long_texts
from jobledger.admin.schedules.status import ScheduleOverview, overviews
from jobledger.admin_site import page_url
from jobledger.alerts.rules import unusable_destinations
from jobledger.api import addresses
from jobledger.jobs import registry
from jobledger.jobs.declaration import Concurrency, JobDeclaration
from jobledger.jobs.options.argparse_internals import format_usage
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.options.parser import options_of
from jobledger.jobs.registry import Job
from jobledger.models import FAILURES, Run
from jobledger.runs.publishing import job_routes

USAGE_WIDTH = 88
MAX_SCHEDULES = 50
MAX_RUNS = 15


@dataclass(frozen=True, kw_only=True)
class ListedJob:
    """A job in the list."""

    job: Job
    url: str
    last_run_mark: SafeString
    last_run_url: str
    last_run_time: SafeString
    success_rate: str
    success_counts: str
    failures: int
    failures_url: str
    """The list of exactly these failures."""
    typical_duration: str
    schedules: str
    next_run: SafeString
    run_url: str
    """The page that starts the job; empty if the user may not start it."""


def may_see(user: rights.User, job: Job) -> bool:
    """Whether the user may see the job's runs, or start it."""
    return rights.may_view(user) or rights.may_start(user, job.name)


def list_context(user: rights.User, search: str, now: datetime) -> dict[str, Any]:
    """The jobs that the user may view and whose name or help text contains the search text."""
    visible = [job for job in registry.all_jobs().values() if may_see(user, job)]
    jobs = [job for job in visible if search.casefold() in f"{job.task_name} {job.help}".casefold()]
    statistics = recent_runs.job_statistics(job.name for job in jobs) if rights.may_view(user) else {}
    counts = recent_runs.schedule_counts(jobs) if rights.may_view_schedules(user) else {}
    return {
        "jobs": [
            _listed_job(
                user,
                job,
                statistics.get(job.name, JobStatistics()),
                counts.get(job.name, ScheduleCounts()),
                now,
            )
            for job in jobs
        ],
        "search": search,
        "is_empty": not visible,
        "window": WINDOW,
    }


def page_context(user: rights.User, job: Job, now: datetime) -> dict[str, Any]:
    may_see_schedules = rights.may_view_schedules(user)
    schedules = _schedules(job) if may_see_schedules else []
    return {
        "job": job,
        "execution_policy": execution_policy(job),
        "usage": usage(job),
        "form": OptionsForm(job, {}),
        "run_url": _run_url(user, job),
        "token_url": _token_url(user, job),
        "may_add_schedule": rights.may_add_schedules(user),
        "may_see_schedules": may_see_schedules,
        "schedules": _with_overviews(schedules[:MAX_SCHEDULES], now),
        "has_more_schedules": len(schedules) > MAX_SCHEDULES,
        **(_runs_context(job, now) if rights.may_view(user) else {"may_see_runs": False}),
    }


def execution_policy(job: Job) -> dict[str, str]:
    """The execution policy that the job's class declares, as sentences by heading."""
    declared = job.declaration
    return {
        "Overlap": _overlap(declared),
        "Time limit": _time_limit(declared),
        "Memory limit": _memory_limit(declared),
        "Process": _process(declared),
        "Queue": _queue(job),
        "Retries": _retries(declared),
        "If its process dies": _when_lost(declared),
        "While the whole service is paused": _while_paused(declared),
        "Alerts": _alerts(job),
    }


def _while_paused(declared: type[JobDeclaration]) -> str:
    if declared.runs_while_paused:
        return "Its schedules go on starting runs, unless they are paused themselves."
    return "Its schedules start nothing."


def usage(job: Job) -> str:
    """The usage message from argparse, without the options that every command has; empty if it fails."""
    try:
        parser = job.create_validating_parser()
    except OptionsError:
        return ""
    options = [option for dest, option in options_of(parser).items() if dest != "verbosity"]
    actions = [action for option in options for action in option.actions if action.help is not SUPPRESS]
    return format_usage(parser, actions, width=USAGE_WIDTH)


def _overlap(declared: type[JobDeclaration]) -> str:
    waiting = (
        "One run at a time. One more waits for its turn; others are skipped."
        if declared.max_queued == 1
        else f"One run at a time. Up to {declared.max_queued} wait for their turn; others are skipped."
    )
    words = {
        Concurrency.FORBID: "One run at a time. A run that is due while another is running is skipped.",
        Concurrency.QUEUE: waiting,
        Concurrency.REPLACE: "One run at a time. A new run cancels the one that is running.",
        Concurrency.ALLOW: "Runs may overlap. A schedule's next run is skipped while "
        f"{declared.max_live_per_schedule} of its runs, or {declared.max_live} of the job's, are live.",
    }
    has_key = declared.concurrency_key.__func__ is not JobDeclaration.concurrency_key.__func__  # type: ignore[attr-defined]
    by_key = (
        "This applies only to runs with the same concurrency key, which the job derives from its options."
    )
    is_exclusive = declared.concurrency != Concurrency.ALLOW
    return " ".join([words[declared.concurrency], *([by_key] if has_key and is_exclusive else [])])


def _time_limit(declared: type[JobDeclaration]) -> str:
    if declared.time_limit is None:
        return "None."
    limit, grace = map(formats.duration, (declared.time_limit, declared.time_limit_grace))
    return f"Stopped after {limit}; killed if its cleanup takes longer than {grace}."


def _memory_limit(declared: type[JobDeclaration]) -> str:
    if declared.memory_limit is None:
        return "None."
    return f"Stopped if it uses more than {declared.memory_limit}; killed at twice as much."


def _process(declared: type[JobDeclaration]) -> str:
    return (
        "Each run has a process of its own." if declared.isolate else "Runs share their worker's processes."
    )


def _queue(job: Job) -> str:
    own = job_routes.declared_by(job)
    priority = f" Priority: {own['priority']}." if "priority" in own else ""
    if "queue" in own:
        return f"Runs go to the queue {own['queue']}, unless their schedule names another.{priority}"
    return f"Runs go where Celery routes them, unless their schedule names a queue.{priority}"


def _retries(declared: type[JobDeclaration]) -> str:
    if not declared.max_retries:
        return "None."
    pause = formats.duration(declared.retry_backoff)
    if declared.max_retries == 1:
        return f"One, {pause} after the failure."
    return f"Up to {declared.max_retries}, the first {pause} after the failure; the delay doubles each time."


def _when_lost(declared: type[JobDeclaration]) -> str:
    if declared.restart_when_lost:
        return "The run is restarted."
    if declared.isolate:
        return "The run fails and is not restarted."
    return "The run is recorded as lost and is not restarted."


def _alerts(job: Job) -> str:
    if (declared := job.declaration.alerts) is None:
        return "The job declares no rule of its own."
    if not declared.kinds:
        return "None."
    names = ", ".join(declared.destinations)
    text = f"Sent to {names or 'the destinations of the general rules'}."
    if unusable := unusable_destinations([job]).get(job.name):
        text += f" Missing or unusable: {', '.join(unusable)}."
    return text


def _runs_context(job: Job, now: datetime) -> dict[str, Any]:
    statistics = recent_runs.job_statistics([job.name])[job.name]
    newest = [run.id for run in statistics.runs[:MAX_RUNS]]
    runs = without_long_texts(Run.objects.filter(pk__in=newest)).order_by("-queued_at", "-pk")
    return {
        "may_see_runs": True,
        "success_rate": _success_rate(statistics),
        "success_counts": _success_counts(statistics),
        "failures": statistics.count(FAILURES),
        "failures_url": _failures_url(job, statistics),
        "typical_duration": _typical_duration(statistics),
        "duration_chart": duration_chart(statistics.runs, now),
        "runs": [ListedRun(run=run, now=now) for run in runs],
        "all_runs_url": RunUrls().filtered(job=job.name),
    }


def _listed_job(
    user: rights.User, job: Job, statistics: JobStatistics, counts: ScheduleCounts, now: datetime
) -> ListedJob:
    last = statistics.last
    return ListedJob(
        job=job,
        url=page_url("jobledger_job", job.name),
        last_run_mark=display.status_mark(last.status) if last else SafeString(""),
        last_run_url=display.run_url(last.id) if last else "",
        last_run_time=display.when(last.queued_at, now) if last else SafeString(""),
        success_rate=_success_rate(statistics),
        success_counts=_success_counts(statistics),
        failures=statistics.count(FAILURES),
        failures_url=_failures_url(job, statistics),
        typical_duration=_typical_duration(statistics),
        schedules=_schedules_text(counts),
        next_run=display.when(counts.next_slot, now) if counts.next_slot else SafeString(""),
        run_url=_run_url(user, job),
    )


def _success_rate(statistics: JobStatistics) -> str:
    """For example, ``97%``; empty if no run was completed."""
    return f"{100 * statistics.succeeded // statistics.executed}%" if statistics.executed else ""


def _success_counts(statistics: JobStatistics) -> str:
    if not statistics.executed:
        return ""
    if statistics.executed == 1:
        return "The last run succeeded" if statistics.succeeded else "The last run did not succeed"
    return f"{statistics.succeeded} of the last {statistics.executed} runs succeeded"


def _failures_url(job: Job, statistics: JobStatistics) -> str:
    return RunUrls().filtered(job=job.name, status="failure", since=statistics.counted_since)


def _typical_duration(statistics: JobStatistics) -> str:
    duration = statistics.typical_duration
    return "" if duration is None else formats.duration(duration)


def _schedules_text(counts: ScheduleCounts) -> str:
    disabled = counts.total - counts.enabled
    return f"{counts.enabled}" + (f" ({disabled} disabled)" if disabled else "") if counts.total else ""


def _schedules(job: Job) -> list[PeriodicTask]:
    found: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(task=job.task_name)
    return list(found.select_related("next_slot").order_by("name")[: MAX_SCHEDULES + 1])


def _with_overviews(
    schedules: Sequence[PeriodicTask], now: datetime
) -> list[tuple[PeriodicTask, ScheduleOverview]]:
    found = overviews(schedules, now, with_runs=False)
    return [(schedule, found[schedule.pk]) for schedule in schedules]


def _token_url(user: rights.User, job: Job) -> str:
    """The page that creates a token that starts the job; empty if the user may not, or the API is off."""
    is_allowed = rights.may_create_tokens(user) and rights.may_start(user, job.name) and addresses.is_on()
    return f"{page_url('jobledger_apitoken_add')}?{urlencode({'job': job.name})}" if is_allowed else ""


def _run_url(user: rights.User, job: Job) -> str:
    return page_url("jobledger_job_run", job.name) if rights.may_start(user, job.name) else ""
