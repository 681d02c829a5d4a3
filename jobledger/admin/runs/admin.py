"""Runs in the admin: they can be viewed, cancelled and run again, but never edited.

Cancelling and starting runs require separate permissions, which every view checks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from jobledger.admin import audit_log, display, rights
from jobledger.admin.fields import number_in
from jobledger.admin.jobs import views as job_pages
from jobledger.admin.rights import User
from jobledger.admin.runs.changes import cancel_run, start_run_again
from jobledger.admin.runs.listing import RunList, run_list
from jobledger.admin.runs.live import LiveUpdate, OutputView
from jobledger.admin.runs.output import reader
from jobledger.admin.runs.page import RunPage, load
from jobledger.admin.runs.search import PAGE_SIZE
from jobledger.admin_site import STOP_POLLING, JobsAdminSite, ModelPages, ReadOnly, page_view
from jobledger.jobs import registry
from jobledger.models import Run, Status
from jobledger.runs import dispatch

ENTRIES_PER_PAGE = 50


@dataclass(frozen=True, kw_only=True)
class StartedAgain:
    """The outcome of running several runs again."""

    new: list[Run]
    not_allowed: int
    errors: list[str]


def cancel_runs(user: User, runs: Iterable[Run]) -> int:
    """Cancel the runs that have not ended; returns how many."""
    return sum(cancel_run(user, run) for run in runs if not Status(run.status).is_final)


def start_runs_again(user: User, runs: Iterable[Run]) -> StartedAgain:
    """Run again those runs whose jobs the user may start."""
    new, not_allowed, errors = [], 0, []
    for run in runs:
        if not rights.may_start(user, run.job):
            not_allowed += 1
            continue
        try:
            new.append(start_run_again(user, run))
        except dispatch.CannotRunAgainError as error:
            errors.append(str(error))
    return StartedAgain(new=new, not_allowed=not_allowed, errors=errors)


class RunAdmin(ReadOnly, ModelPages):
    """The list of runs and the page of each run."""

    def get_urls(self) -> list[URLPattern]:
        views = {
            "cancel/": (self.cancel_view, "cancel"),
            "again/": (self.start_again_view, "start_again"),
            "live/": (self.live_view, "live"),
            "output.txt": (self.output_view, "output"),
        }
        urls = [
            path(f"<uuid:run_id>/{route}", page_view(self.admin_site, view), name=f"jobledger_run_{name}")
            for route, (view, name) in views.items()
        ]
        # JobsAdminSite has the pages of jobs itself.
        has_jobs = isinstance(self.admin_site, JobsAdminSite)
        jobs = [] if has_jobs else job_pages.urls(self.admin_site, "job/")
        return [*urls, *jobs, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; POST requests carry out an action on the selected runs."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._act(request)
        found = run_list(request.GET, timezone.now(), with_schedules=rights.may_view_schedules(request.user))
        if (match := _single_match(found)) is not None:
            return HttpResponseRedirect(display.run_url(match.pk))
        context = {
            "title": "Runs",
            "list": found,
            "may_cancel": rights.may_cancel(request.user),
            "may_start": rights.may_start_any(request.user),
        }
        return self._render(request, "list.html", context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        page = self._run_page(request, object_id)
        output = OutputView(page, request.GET)
        title = f"{page.run.job} {page.run.short_id}"
        return self._render(
            request, "page.html", {**self._page_context(request, page), "output": output, "title": title}
        )

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Who has cancelled it, or run it again."""
        run = self._get_run(request, object_id)
        page = Paginator(audit_log.entries_of(run), ENTRIES_PER_PAGE).get_page(request.GET.get("p"))
        entries = audit_log.formatted(page, timezone.now())
        context = {"title": f"History of {run}", "run": run, "page": page, "entries": entries}
        return self._render(request, "history.html", context)

    @method_decorator(require_safe)
    @method_decorator(never_cache)
    def live_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Changes to a run since its page last polled; the last response stops the polling."""
        page = self._run_page(request, run_id)
        live = LiveUpdate(page, request.GET)
        context = {**self._page_context(request, page), "live": live, "oob": True}
        status = STOP_POLLING if live.is_last else 200
        return TemplateResponse(request, "jobledger/runs/live.html", context, status=status)

    @method_decorator(require_safe)
    def output_view(self, request: HttpRequest, run_id: UUID) -> StreamingHttpResponse:
        """The output as plain text: a download or, with ``look``, a page in the browser."""
        run = self._get_run(request, run_id)
        only = number_in(request.GET.get("attempt", ""))
        name = f"{run.job}-{run.short_id}.txt"
        headers = {
            "Content-Disposition": content_disposition_header("look" not in request.GET, name) or "inline",
            "X-Content-Type-Options": "nosniff",
        }
        text = reader.as_text(run, only, without_escapes="look" in request.GET)
        return StreamingHttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Cancel the run and return to its page."""
        run = self._get_run(request, run_id)
        if not rights.may_cancel(request.user):
            raise PermissionDenied
        if cancel_run(request.user, run):
            run.refresh_from_db(fields=["status"])
            is_running = run.status == Status.RUNNING
            text = "The run will end within a few seconds." if is_running else "The run has been cancelled."
            self.message_user(request, text, messages.SUCCESS)
        else:
            text = "The run has already ended or is already being cancelled."
            self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(display.run_url(run.pk))

    @method_decorator(require_POST)
    def start_again_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Run the job again with the same options, and redirect to the new run."""
        run = self._get_run(request, run_id)
        if not rights.may_start(request.user, run.job):
            raise PermissionDenied
        try:
            new = start_run_again(request.user, run)
        except dispatch.CannotRunAgainError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(display.run_url(run.pk))
        self.message_user(request, "Run started.", messages.SUCCESS)
        return HttpResponseRedirect(display.run_url(new.pk))

    def _act(self, request: HttpRequest) -> HttpResponse:
        """Carry out the selected action, and return to the same page of the list."""
        ids = _uuids(request.POST.getlist("_selected_action"))
        if len(ids) > PAGE_SIZE:
            skipped = len(ids) - PAGE_SIZE
            text = f"Actions apply to at most {PAGE_SIZE} runs at a time; {skipped} runs were skipped."
            self.message_user(request, text, messages.WARNING)
        selected = Run.objects.filter(pk__in=ids[:PAGE_SIZE])
        match request.POST.get("action"):
            case "cancel_runs":
                self._cancel_runs(request, list(selected.defer("traceback")))
            case "start_runs_again":
                self._start_runs_again(request, list(selected.defer("traceback")))
            case _:
                self.message_user(request, "No action selected.", messages.WARNING)
        return HttpResponseRedirect(request.get_full_path())

    def _cancel_runs(self, request: HttpRequest, runs: list[Run]) -> None:
        if not rights.may_cancel(request.user):
            raise PermissionDenied
        count = cancel_runs(request.user, runs)
        text = f"Cancelling {count} run." if count == 1 else f"Cancelling {count} runs."
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)

    def _start_runs_again(self, request: HttpRequest, runs: list[Run]) -> None:
        if not rights.may_start_any(request.user):
            raise PermissionDenied
        outcome = start_runs_again(request.user, runs)
        count = len(outcome.new)
        text = f"Started {count} run." if count == 1 else f"Started {count} runs."
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)
        if outcome.not_allowed:
            text = f"Not started because you do not have permission to run their jobs: {outcome.not_allowed}."
            self.message_user(request, text, messages.WARNING)
        for error in outcome.errors:
            self.message_user(request, error, messages.WARNING)

    def _get_run(self, request: HttpRequest, run_id: UUID | str) -> Run:
        """The run, if the user may view it. Raises PermissionDenied or Http404."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = _uuids([str(run_id)])
        run = load(found[0]) if found else None
        if run is None:
            raise Http404
        return run

    def _run_page(self, request: HttpRequest, run_id: UUID | str) -> RunPage:
        run, links_schedules = self._get_run(request, run_id), rights.may_view_schedules(request.user)
        return RunPage(run, timezone.now(), links_schedules)

    def _page_context(self, request: HttpRequest, page: RunPage) -> dict[str, Any]:
        return {
            "page": page,
            "can_cancel": not page.is_final and rights.may_cancel(request.user),
            "can_start_again": page.is_final and rights.may_start(request.user, page.run.job),
            "is_job": page.run.job in registry.all_jobs(),
        }

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        site = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"jobledger/runs/{template}", {**site, **context})


def _uuids(texts: list[str]) -> list[UUID]:
    """The UUIDs among the texts; anything else is ignored."""
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


def _single_match(found: RunList) -> Run | None:
    """The run to redirect to: the only result of a search by run ID."""
    by_id = found.page.by_id and found.is_first
    return found.page.runs[0] if by_id and len(found.page.runs) == 1 else None
