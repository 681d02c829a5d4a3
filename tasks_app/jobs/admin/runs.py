"""Runs in the admin: read, followed, cancelled and started again, never edited.

Whoever may look at runs may not yet cancel or start them: for that there are rights of their own, asked
at every address.
"""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from tasks_app.jobs.admin import rights, run_actions, run_output, run_page
from tasks_app.jobs.admin.asked_numbers import number_in
from tasks_app.jobs.admin.run_list import RunList, run_list
from tasks_app.jobs.admin.run_view import LiveView, OutputView
from tasks_app.jobs.admin_site import STOP_POLLING
from tasks_app.jobs.defining import registry
from tasks_app.jobs.models import Run, Status
from tasks_app.jobs.running import again


@admin.register(Run)
class RunAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic for the type checker alone
    """The ledger: a list that stays fast, and a page for each run."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Runs are made by starting jobs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """What happened cannot be edited."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Run | None = None) -> bool:
        """Nor undone."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """A run's page, and the addresses behind its buttons and its output."""
        views = {
            "cancel/": (self.cancel_view, "cancel"),
            "again/": (self.start_again_view, "start_again"),
            "live/": (self.live_view, "live"),
            "output.txt": (self.output_view, "output"),
        }
        urls = [
            path(f"<uuid:run_id>/{address}", self.admin_site.admin_view(view), name=f"jobs_run_{name}")
            for address, (view, name) in views.items()
        ]
        return [*urls, *super().get_urls()]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The list; or, posted, what is to be done with the selected runs."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if request.method == "POST":
            return self._act(request)
        found = run_list(request.GET, timezone.now())
        if (only := _only_one(found)) is not None:
            return HttpResponseRedirect(run_page.address_of(only.pk))
        context = {
            "title": _("Runs"),
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
        """The run's page."""
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied
        page = run_page.RunPage(self._seen(request, object_id), timezone.now())
        output = OutputView(page, request.GET)
        title = f"{page.run.job} {page.run.short_id}"
        return self._render(
            request, "page.html", {**self._page_context(request, page), "output": output, "title": title}
        )

    @method_decorator(require_safe)
    @method_decorator(never_cache)
    def live_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """What is new of a run since its page last asked; the last answer says that it is the last."""
        page = run_page.RunPage(self._seen(request, run_id), timezone.now())
        live = LiveView(page, request.GET)
        context = {**self._page_context(request, page), "live": live, "oob": True}
        status = STOP_POLLING if live.is_last else 200
        return TemplateResponse(request, "admin/jobs/run/live.html", context, status=status)

    @method_decorator(require_safe)
    def output_view(self, request: HttpRequest, run_id: UUID) -> StreamingHttpResponse:
        """Everything it wrote, as a text: to download, or to look at."""
        run = self._seen(request, run_id)
        only = number_in(request.GET.get("attempt", ""))
        name = f"{run.job}-{run.short_id}.txt"
        headers = {
            "Content-Disposition": content_disposition_header("look" not in request.GET, name) or "inline",
            "X-Content-Type-Options": "nosniff",
        }
        text = run_output.as_text(run, only, is_plain="look" in request.GET)
        return StreamingHttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)

    @method_decorator(require_POST)
    def cancel_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Cancel the run; back to its page."""
        run = self._seen(request, run_id)
        if not rights.may_cancel(request.user):
            raise PermissionDenied
        if run_actions.cancel(request.user, run):
            run.refresh_from_db(fields=["status"])
            is_running = run.status == Status.RUNNING
            said = _("The run ends within a few seconds.") if is_running else _("The run is cancelled.")
            self.message_user(request, said, messages.SUCCESS)
        else:
            said = _("The run is over, or was already asked to end.")
            self.message_user(request, said, messages.WARNING)
        return HttpResponseRedirect(run_page.address_of(run.pk))

    @method_decorator(require_POST)
    def start_again_view(self, request: HttpRequest, run_id: UUID) -> HttpResponse:
        """Start a new run that does the same; on to its page."""
        run = self._seen(request, run_id)
        if not rights.may_start(request.user, run.job):
            raise PermissionDenied
        try:
            new = run_actions.start_again(request.user, run)
        except again.NotStartedAgainError as error:
            self.message_user(request, str(error), messages.ERROR)
            return HttpResponseRedirect(run_page.address_of(run.pk))
        self.message_user(request, _("This run was started."), messages.SUCCESS)
        return HttpResponseRedirect(run_page.address_of(new.pk))

    def _act(self, request: HttpRequest) -> HttpResponse:
        """Do something with the selected runs; back to the list as it was."""
        selected = Run.objects.filter(pk__in=_uuids(request.POST.getlist("_selected_action")))
        match request.POST.get("action"):
            case "cancel_runs":
                self._cancel_all(request, list(selected.defer("traceback")))
            case "start_runs_again":
                self._start_all_again(request, list(selected.defer("traceback")))
            case _:
                self.message_user(request, _("Choose what to do."), messages.WARNING)
        return HttpResponseRedirect(request.get_full_path())

    def _cancel_all(self, request: HttpRequest, runs: list[Run]) -> None:
        if not rights.may_cancel(request.user):
            raise PermissionDenied
        count = run_actions.cancel_all(request.user, runs)
        text = ngettext("%d run was asked to end.", "%d runs were asked to end.", count) % count
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)

    def _start_all_again(self, request: HttpRequest, runs: list[Run]) -> None:
        if not rights.may_start_any(request.user):
            raise PermissionDenied
        done = run_actions.start_all_again(request.user, runs)
        count = len(done.new)
        text = ngettext("%d run was started.", "%d runs were started.", count) % count
        self.message_user(request, text, messages.SUCCESS if count else messages.WARNING)
        if done.not_allowed:
            text = _("Not started, as you may not start their jobs: %d.") % done.not_allowed
            self.message_user(request, text, messages.WARNING)
        for refusal in done.refusals:
            self.message_user(request, refusal, messages.WARNING)

    def _seen(self, request: HttpRequest, run_id: UUID | str) -> Run:
        """The run, for somebody who may see it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        found = _uuids([str(run_id)])
        run = run_page.load(found[0]) if found else None
        if run is None:
            raise Http404
        return run

    def _page_context(self, request: HttpRequest, page: run_page.RunPage) -> dict[str, Any]:
        return {
            "page": page,
            "can_cancel": not page.is_final and rights.may_cancel(request.user),
            "can_start_again": page.is_final and rights.may_start(request.user, page.run.job),
            "is_job": page.run.job in registry.all_jobs(),
        }

    def _render(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        site = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, f"admin/jobs/run/{template}", {**site, **context})


def _uuids(texts: list[str]) -> list[UUID]:
    """Those that are ids."""
    found = []
    for text in texts:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


def _only_one(found: RunList) -> Run | None:
    """The run whose id somebody searched for, where it is the only one."""
    by_id = found.page.by_id and found.is_first
    return found.page.runs[0] if by_id and len(found.page.runs) == 1 else None
