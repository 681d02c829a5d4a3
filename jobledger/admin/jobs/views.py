"""The pages of jobs: the list, the page of a job, and the form that starts it."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from jobledger.admin import display, following, rights
from jobledger.admin.following import Topic
from jobledger.admin.jobs.pages import list_context, may_see, page_context
from jobledger.admin.options.fields import OptionField
from jobledger.admin.options.form import OptionsForm, left_to_worker
from jobledger.admin.runs.changes import start_job
from jobledger.admin_site import page_url, page_view
from jobledger.formats import exact
from jobledger.jobs import registry
from jobledger.jobs.options.parser import Flag
from jobledger.jobs.registry import Job
from jobledger.models import Run


def urls(site: AdminSite, prefix: str = "jobledger/job/") -> list[URLPattern]:
    views: dict[str, tuple[Callable[..., HttpResponse], str]] = {
        "": (list_view, "jobledger_job_list"),
        "<str:name>/": (job_view, "jobledger_job"),
        "<str:name>/run/": (run_view, "jobledger_job_run"),
        "<str:name>/options/": (options_view, "jobledger_job_options"),
    }
    return [
        path(f"{prefix}{route}", page_view(site, view), {"site": site}, name=name)
        for route, (view, name) in views.items()
    ]


@require_safe
def list_view(request: HttpRequest, site: AdminSite) -> HttpResponse:
    context = list_context(request.user, request.GET.get("q", "").strip(), timezone.now())
    return _page(request, site, "jobledger/jobs/list.html", {"title": "Jobs", **context})


@require_safe
def job_view(request: HttpRequest, name: str, site: AdminSite) -> HttpResponse:
    job = _get_viewable(request, name)
    context = page_context(request.user, job, timezone.now())
    context |= following.buttons(request.user, Topic(job=job.name))
    return _page(request, site, "jobledger/jobs/job.html", {"title": job.name, **context})


@require_http_methods(["GET", "HEAD", "POST"])
@sensitive_post_parameters()
def run_view(request: HttpRequest, name: str, site: AdminSite) -> HttpResponse:
    """The form that starts a job. If the URL has a past run, it is filled in with the options of that run."""
    job = _get_startable(request, name)
    past = _past_run(request, job)
    # A user who may start a job may choose its destination, but must not send stored secrets there.
    stored = past.options if past else {}
    form = OptionsForm(job, stored, _submitted_data(request, job), keeps_secrets_in_place=True)
    if request.method == "POST" and form.is_valid():
        return _start(request, job, form, past)
    title = f"Run {name} again" if past else f"Run {name}"
    context = {
        "title": title,
        "job": job,
        "form": form,
        "past": past,
        "past_slot": exact(past.scheduled_for) if past and past.scheduled_for else "",
        "has_dry_run": bool(_dry_run_flag(form)),
        "refresh_url": page_url("jobledger_job_options", name),
    }
    return _page(request, site, "jobledger/jobs/run.html", context)


@require_POST
@sensitive_post_parameters()
def options_view(request: HttpRequest, name: str, site: AdminSite) -> HttpResponse:
    """The equivalent command for unvalidated options, while the user is typing."""
    form = OptionsForm(_get_startable(request, name), {}, request.POST)
    context = {"command_line": form.command_line, "prefix": form.prefix}
    return render(request, "jobledger/options/command_line.html", context)


def _get_job(name: str) -> Job:
    job = registry.all_jobs().get(name)
    if job is None:
        raise Http404(f"There is no job {name}.")
    return job


def _get_viewable(request: HttpRequest, name: str) -> Job:
    job = _get_job(name)
    if not may_see(request.user, job):
        raise PermissionDenied
    return job


def _get_startable(request: HttpRequest, name: str) -> Job:
    job = _get_job(name)
    if not rights.may_start(request.user, name):
        raise PermissionDenied
    return job


def _past_run(request: HttpRequest, job: Job) -> Run | None:
    """The run in the URL, if the user may view runs."""
    text = request.GET.get("run", "")
    if not text:
        return None
    if not rights.may_view(request.user):
        raise PermissionDenied
    try:
        return get_object_or_404(Run.objects.defer("traceback"), pk=UUID(text), job=job.name)
    except ValueError as error:
        raise Http404("There is no such run.") from error


def _submitted_data(request: HttpRequest, job: Job) -> QueryDict | None:
    """The submitted data. The "Dry run" button adds the job's ``--dry-run`` flag."""
    if request.method != "POST":
        return None
    form = OptionsForm(job, {}) if "dry_run" in request.POST else None
    dry_run = _dry_run_flag(form) if form else None
    if form is None or dry_run is None:
        return request.POST
    name, flag = dry_run
    field = form.fields[name]
    data = request.POST.copy()
    if isinstance(field, OptionField):
        value = field.format_value(flag.value)
        data[form.add_prefix(name)] = "on" if value is True else value
    return data


def _dry_run_flag(form: OptionsForm) -> tuple[str, Flag] | None:
    """The flag ``--dry-run`` and the name of its field, if the job has one."""
    for name, field in form.fields.items():
        flags = field.option.flags if isinstance(field, OptionField) else ()
        for flag in flags:
            if flag.string == "--dry-run":
                return name, flag
    return None


def _start(request: HttpRequest, job: Job, form: OptionsForm, past: Run | None) -> HttpResponse:
    run = start_job(request.user, job, form.options, past=past)
    messages.success(request, "Run started.")
    for sentence in left_to_worker(form.parser, form.options):
        messages.warning(request, sentence)
    if not rights.may_view(request.user):
        return HttpResponseRedirect(page_url("jobledger_job", job.name))
    return HttpResponseRedirect(display.run_url(run.pk))


def _page(request: HttpRequest, site: AdminSite, template: str, context: dict[str, Any]) -> HttpResponse:
    return TemplateResponse(request, template, {**site.each_context(request), **context})
