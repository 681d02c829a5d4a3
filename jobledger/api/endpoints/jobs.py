"""Jobs: what there is, and starting one."""

from collections.abc import Collection
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse
from django_celery_beat.models import PeriodicTask
from ninja import Header, Router

from jobledger import clock
from jobledger.admin import pauses as admin_pauses
from jobledger.admin import rights
from jobledger.admin.jobs.pages import execution_policy, may_see, usage
from jobledger.admin.options.job_options import JobOption, Layout
from jobledger.api import schemas
from jobledger.api.authentication import require, user_of
from jobledger.api.endpoints.pausing import paused, resumed, terms_of
from jobledger.api.problems import ProblemError
from jobledger.api.responses import ERRORS
from jobledger.api.starting import IdempotencyKey, start
from jobledger.jobs import registry, secrets
from jobledger.jobs.options.errors import OptionsError
from jobledger.jobs.registry import Job

router = Router()


@router.get("/jobs", response={200: schemas.Jobs, **ERRORS}, summary="List the jobs with their options")
def list_jobs(request: HttpRequest) -> dict[str, Any]:
    """Those that the token's owner may see or start."""
    user = user_of(request)
    return {"jobs": [_job(user, job) for job in _visible(user)]}


@router.get("/jobs/{name}", response={200: schemas.Job, **ERRORS}, summary="Show a job")
def show_job(request: HttpRequest, name: str) -> dict[str, Any]:
    """Its options, and how its runs are executed."""
    user = user_of(request)
    return _job(user, _named(name, _visible(user)))


@router.post(
    "/jobs/{name}/runs",
    response={201: schemas.StartedRun, 200: schemas.StartedRun, **ERRORS},
    summary="Start a job",
)
def start_job(
    request: HttpRequest,
    response: HttpResponse,
    name: str,
    headers: Header[IdempotencyKey],
    body: schemas.Start | None = None,
) -> Any:
    """The options are validated by the command's own parser before anything is started."""
    user = user_of(request)
    job = _named(name, _visible(user))
    require(rights.may_start(user, job.name), f"start {job.name}")
    return start(request, response, job, body.options if body else {}, headers.idempotency_key)


@router.post(
    "/jobs/{name}/pause", response={200: schemas.Paused, **ERRORS}, summary="Pause a job's schedules"
)
def pause_job(request: HttpRequest, name: str, body: schemas.PauseTerms | None = None) -> dict[str, Any]:
    """All of its schedules. Users can still start it."""
    schedules = _schedules(request, name)
    now = clock.now()
    terms = terms_of(request, body, now)
    admin_pauses.pause_schedules(user_of(request), schedules, terms, now)
    return paused(schedules, terms)


@router.post(
    "/jobs/{name}/resume", response={200: schemas.Resumed, **ERRORS}, summary="Resume a job's schedules"
)
def resume_job(request: HttpRequest, name: str) -> dict[str, Any]:
    """End the pauses of its schedules; that of the whole service remains."""
    schedules, now = _schedules(request, name), clock.now()
    return resumed(admin_pauses.resume_schedules(user_of(request), schedules, now), now)


def _schedules(request: HttpRequest, name: str) -> list[PeriodicTask]:
    user = user_of(request)
    require(rights.may_pause(user) and rights.may_view_schedules(user), "pause and resume schedules")
    # The schedules, which the owner may see, name their jobs.
    job = _named(name, registry.all_jobs().values())
    return list(PeriodicTask.objects.filter(task=job.task_name).order_by("name"))


def _visible(user: rights.User) -> list[Job]:
    return [job for job in registry.all_jobs().values() if may_see(user, job)]


def _named(name: str, jobs: Collection[Job]) -> Job:
    """The one of these jobs with this name, or task name. Raises ProblemError, which names no others."""
    found = next((job for job in jobs if name in (job.name, job.task_name)), None)
    if found is None:
        detail = f"There is no job {name!r} that the token's owner may see. {registry.hint(name, jobs)}"
        raise ProblemError(HTTPStatus.NOT_FOUND, detail.rstrip())
    return found


def _job(user: rights.User, job: Job) -> dict[str, Any]:
    return {
        "name": job.name,
        "task": job.task_name,
        "summary": job.summary,
        "help": job.help,
        "usage": usage(job),
        "options": _options(job),
        "execution_policy": execution_policy(job),
        "may_start": rights.may_start(user, job.name),
    }


def _options(job: Job) -> list[dict[str, Any]]:
    """None of a job whose parser cannot be created."""
    try:
        layout = Layout(job.create_validating_parser())
    except OptionsError:
        return []
    return [_option(job, each) for each in layout.options.values() if not each.is_hidden]


def _option(job: Job, found: JobOption) -> dict[str, Any]:
    is_secret = secrets.is_secret(job, found.option)
    return {
        "name": found.option.dest,
        "flags": found.flags,
        "help": found.help(is_secret=is_secret),
        "required": found.option.is_required,
        "takes_list": found.takes_list,
        "choices": found.choices,
        "default": secrets.MASK if is_secret and found.default else found.default,
        "secret": is_secret,
        "subcommands": list(found.subcommands),
    }
