"""The admin's site: its home answers an operator's questions; everything else is one page further.

It stands outside the package ``admin``, which registers its pages with the site when it is imported:
the site has to be there before.
"""

from collections.abc import Callable
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
"""What htmx understands as: do not ask again."""


def _nothing(request: HttpRequest) -> dict[str, Any]:
    return {}


def _no_urls(site: AdminSite) -> list[URLPattern]:
    return []


class JobsAdminSite(AdminSite):
    """Django's admin with the service's pages first.

    What the home shows, and from where it fetches more of it, the package ``admin`` says when it is imported.
    """

    home: Callable[[HttpRequest], dict[str, Any]] = staticmethod(_nothing)
    home_urls: Callable[[AdminSite], list[URLPattern]] = staticmethod(_no_urls)
    job_urls: Callable[[AdminSite], list[URLPattern]] = staticmethod(_no_urls)

    site_header = "Scheduled jobs"
    site_title = "Scheduled jobs"
    index_title = "Home"
    # The few pages that operators live in are named at the top of every page.
    enable_nav_sidebar = False
    # There is no other site to view.
    site_url = None
    index_template = "jobledger/home/page.html"

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Django's; but no part of a page takes in the login when its reader was logged out meanwhile."""
        guarded = super().admin_view(view, cacheable)

        def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            if "HX-Request" in request.headers and not self.has_permission(request):
                return _logged_out(request)
            return guarded(request, *args, **kwargs)

        return update_wrapper(answered, guarded)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Django's, and the list of all models, which is the home no longer."""
        everything = path("everything/", self.admin_view(self.everything), name="everything")
        return [everything, *self.home_urls(self), *self.job_urls(self), *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The home."""
        return super().index(request, {**self.home(request), **(extra_context or {})})

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        """What every page shows at its top."""
        return {**super().each_context(request), "sections": self._sections(request)}

    def everything(self, request: HttpRequest) -> HttpResponse:
        """Every model that this user may see, as Django's own home lists them."""
        context = {
            **self.each_context(request),
            "title": "Everything",
            "app_list": self.get_app_list(request),
        }
        return TemplateResponse(request, "jobledger/everything.html", context)

    def _sections(self, request: HttpRequest) -> list[tuple[str, str | Promise, bool]]:
        """Address, name, and whether the page belongs to it. Only for who is inside."""
        if not self.has_permission(request):
            return []
        found = [(reverse(name), title) for name, title in SECTIONS]
        home = found[0][0]
        return [
            (
                address,
                title,
                request.path == address or (address != home and request.path.startswith(address)),
            )
            for address, title in found
        ]


def _logged_out(request: HttpRequest) -> HttpResponse:
    """The page is told to load again, which leads to the login; a form keeps what was typed into it."""
    if request.method == "POST":
        return HttpResponse(status=204)
    return HttpResponse(status=STOP_POLLING, headers={"HX-Refresh": "true"})
