"""The admin site, with a home page for operators and navigation on every page; what pages of any site need.

It is not in the package ``admin``, which adds its pages to the site on import, so the site must exist first.
"""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import update_wrapper
from typing import Any

from django.contrib.admin import AdminSite, ModelAdmin
from django.core.signals import request_finished
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, URLResolver, path, reverse
from django.utils.functional import Promise

from jobledger.admin_internals import LateAdminSite
from jobledger.conf import settings
from jobledger.permissions import User, may_view, may_view_schedules

SECTIONS = (
    ("index", "Home"),
    ("django_celery_beat_periodictask_changelist", "Schedules"),
    ("jobledger_job_list", "Jobs"),
    ("jobledger_run_changelist", "Runs"),
    ("jobledger_alert_changelist", "Alerts"),
    ("everything", "Everything"),
)

_MAY_OPEN: Mapping[str, Callable[[User], bool]] = {
    "django_celery_beat_periodictask_changelist": may_view_schedules,
    "jobledger_run_changelist": may_view,
    "jobledger_alert_changelist": may_view,
}
"""Who may open a section; the others, all who may log in."""

STOP_POLLING = 286
"""The HTTP status that makes htmx stop polling."""

# Its name. Kept until the end of the request, since a TemplateResponse is rendered after its view.
_current_site: ContextVar[str] = ContextVar("jobledger_admin_site", default="")


def page_url(name: str, *args: object) -> str:
    """The URL of a page on the site that serves the current request, if a project has several.

    Without a request, on the site that the setting ``ADMIN_SITE`` names. Raises NoReverseMatch.
    """
    return reverse(f"admin:{name}", args=args, current_app=_current_site.get() or settings.ADMIN_SITE)


def page_view(site: AdminSite, view: Callable[..., Any]) -> Any:
    """The view for users of this site, whichever it is. Its links stay on the site.

    After logout, it makes htmx reload the page instead of replacing a part of it with the login form.
    """
    return _on_site(site, site.admin_view(view))


def _on_site(site: AdminSite, guarded: Callable[..., Any]) -> Any:
    def view_or_reload(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if "HX-Request" in request.headers and not site.has_permission(request):
            return _logged_out(request)
        _current_site.set(site.name)
        return guarded(request, *args, **kwargs)

    return update_wrapper(view_or_reload, guarded)


def _leave_site(**kwargs: Any) -> None:
    _current_site.set("")


request_finished.connect(_leave_site)


class ReadOnly:
    """Pages of what only the service itself writes. Comes before the other base class."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class ModelPages(ModelAdmin):  # type: ignore[type-arg]  # generic for the type checker alone
    """The pages of a model, whose links stay on their site."""

    def get_urls(self) -> list[URLPattern]:
        urls: list[URLPattern] = super().get_urls()
        for url in urls:
            url.callback = _on_site(self.admin_site, url.callback)
        return urls


def _nothing(request: HttpRequest) -> dict[str, Any]:
    return {}


class JobsAdminSite(LateAdminSite):
    """Django's admin with the service's pages."""

    home_context: Callable[[HttpRequest], dict[str, Any]] = staticmethod(_nothing)
    page_urls: Sequence[Callable[[AdminSite], list[URLPattern]]] = ()
    """Pages that do not belong to a model."""

    site_header = "Scheduled jobs"
    site_title = "Scheduled jobs"
    index_title = "Home"
    # Replaced by the sections at the top of every page.
    enable_nav_sidebar = False
    # There is no site to view besides the admin.
    site_url = None
    index_template = "jobledger/home/page.html"

    def admin_view(self, view: Callable[..., Any], cacheable: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        return _on_site(self, super().admin_view(view, cacheable))

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Add the service's pages, and the list of all models, which used to be the index."""
        self.discover_now()
        everything = path("everything/", self.admin_view(self.everything), name="everything")
        pages = [url for urls in self.page_urls for url in urls(self)]
        return [everything, *pages, *super().get_urls()]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        return super().index(request, {**self.home_context(request), **(extra_context or {})})

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        return {**super().each_context(request), "sections": self._sections(request)}

    def everything(self, request: HttpRequest) -> HttpResponse:
        """Django's own index: every model that the user may view."""
        context = {
            **self.each_context(request),
            "title": "Everything",
            "app_list": self.get_app_list(request),
        }
        return TemplateResponse(request, "jobledger/everything.html", context)

    def _sections(self, request: HttpRequest) -> list[tuple[str, str | Promise, bool]]:
        """URL, title, and whether the current page belongs to it; empty before login.

        Only those that the user may open.
        """
        if not self.has_permission(request):
            return []
        home, *others = (
            (reverse(f"admin:{name}", current_app=self.name), title)
            for name, title in SECTIONS
            if name not in _MAY_OPEN or _MAY_OPEN[name](request.user)
        )
        return [
            (*home, request.path == home[0]),
            # Without the slash, since a section may include other models, such as alertrule.
            *((url, title, request.path.startswith(url.rstrip("/"))) for url, title in others),
        ]


def _logged_out(request: HttpRequest) -> HttpResponse:
    """Make the page reload, which redirects to the login. After a POST, keep it: a form has unsaved input."""
    if request.method == "POST":
        return HttpResponse(status=204)
    return HttpResponse(status=STOP_POLLING, headers={"HX-Refresh": "true"})
