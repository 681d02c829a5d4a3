"""The admin's site: its home answers an operator's questions, and every page names the sections.

It is outside the package ``admin``, which adds its pages to the site when it is imported: the site has to
exist before.
"""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.functional import Promise

SECTIONS = (
    ("admin:index", "Home"),
    ("admin:django_celery_beat_periodictask_changelist", "Schedules"),
    ("admin:jobledger_job_list", "Jobs"),
    ("admin:jobledger_run_changelist", "Runs"),
    ("admin:everything", "Everything"),
)

STOP_POLLING = 286
"""The HTTP status that makes htmx stop polling."""


def _nothing(request: HttpRequest) -> dict[str, Any]:
    return {}


class JobsAdminSite(AdminSite):
    """Django's admin with the service's pages first."""

    home_context: Callable[[HttpRequest], dict[str, Any]] = staticmethod(_nothing)
    page_urls: Sequence[Callable[[AdminSite], list[URLPattern]]] = ()
    """The pages that belong to no model."""

    site_header = "Scheduled jobs"
    site_title = "Scheduled jobs"
    index_title = "Home"
    # The sections at the top of every page take its place.
    enable_nav_sidebar = False
    # There is no other site to view.
    site_url = None
    index_template = "jobledger/home/page.html"

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Django's, but no part of a page is replaced by the login form after its user was logged out."""
        guarded = super().admin_view(view, cacheable)

        def view_or_reload(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if "HX-Request" in request.headers and not self.has_permission(request):
                return _logged_out(request)
            return guarded(request, *args, **kwargs)

        return update_wrapper(view_or_reload, guarded)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """With those of the service's pages, and the list of all models, which the home replaces."""
        everything = path("everything/", self.admin_view(self.everything), name="everything")
        pages = [url for urls in self.page_urls for url in urls(self)]
        return [everything, *pages, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The home."""
        return super().index(request, {**self.home_context(request), **(extra_context or {})})

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """With the sections."""
        return {**super().each_context(request), "sections": self._sections(request)}

    def everything(self, request: HttpRequest) -> HttpResponse:
        """Django's own home: every model that the user may see."""
        context = {
            **self.each_context(request),
            "title": "Everything",
            "app_list": self.get_app_list(request),
        }
        return TemplateResponse(request, "jobledger/everything.html", context)

    def _sections(self, request: HttpRequest) -> list[tuple[str, str | Promise, bool]]:
        """URL, title, and whether the page belongs to it; nothing before the login."""
        if not self.has_permission(request):
            return []
        home = reverse("admin:index")
        return [
            (url, title, request.path == url or (url != home and request.path.startswith(url)))
            for url, title in ((reverse(name), title) for name, title in SECTIONS)
        ]


def _logged_out(request: HttpRequest) -> HttpResponse:
    """Makes the page load again, which leads to the login; a form keeps what was typed into it."""
    if request.method == "POST":
        return HttpResponse(status=204)
    return HttpResponse(status=STOP_POLLING, headers={"HX-Refresh": "true"})
