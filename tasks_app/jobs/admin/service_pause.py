"""The pause of the whole service: what pages show of it, and the pages that begin and end it.

A page shows it with ``of`` and the template ``admin/jobs/service_pause.html``, which takes the answer as
``service``. The addresses belong to the admin of schedules: ``admin:jobs_service_pause`` asks and pauses,
``admin:jobs_service_resume`` resumes; both go back to where they were called from.
"""

from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.contrib.admin import AdminSite
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_POST

from tasks_app.jobs.admin import moments, pause_words, rights, trail
from tasks_app.jobs.admin.pause_form import PauseForm
from tasks_app.jobs.models import Pause
from tasks_app.jobs.scheduling import pausing


@dataclass(frozen=True, kw_only=True)
class ServicePause:
    """Whether the whole service is paused, as it is shown to somebody."""

    pause: Pause | None
    may_pause: bool
    until: str
    """Its end in words; empty where it is not paused."""
    back: str
    """The page that it is shown on."""


def of(request: HttpRequest, now: datetime) -> ServicePause:
    """What the page that was asked for shows. One query, and what the user's rights take."""
    pause = pausing.in_force(None, now).order_by("since").first()
    return ServicePause(
        pause=pause,
        may_pause=rights.may_pause(request.user),
        until=_until(pause, now) if pause else "",
        back=request.get_full_path(),
    )


def urls(site: AdminSite) -> list[URLPattern]:
    """The pages, guarded as all of the site's are."""

    def pause(request: HttpRequest) -> HttpResponse:
        return _pause_view(site, request)

    return [
        path(
            "pause_service/",
            site.admin_view(require_http_methods(["GET", "POST"])(pause)),
            name="jobs_service_pause",
        ),
        path("resume_service/", site.admin_view(require_POST(_resume_view)), name="jobs_service_resume"),
    ]


def _pause_view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Ask how long and why, then pause."""
    _check(request)
    now = timezone.now()
    form = PauseForm(request.POST or None, now=now)
    if form.is_valid():
        _pause(request, form, now)
        return _back(request)
    context = {
        **site.each_context(request),
        "title": _("Pause the whole service"),
        "step": _("Pause the whole service"),
        "form": form,
        "back": _address_back(request),
        "is_paused": pausing.in_force(None, now).exists(),
    }
    return TemplateResponse(request, "admin/jobs/pause_service.html", context)


@transaction.atomic
def _pause(request: HttpRequest, form: PauseForm, now: datetime) -> None:
    terms = form.terms(request.user)
    pause, _is_new = pausing.pause(None, terms, now=now)
    how = pause_words.told(terms.until, reason=terms.reason)
    trail.noted(request.user, [pause], f"Paused the whole service {how}.")
    messages.success(request, _("The whole service is paused."))


def _resume_view(request: HttpRequest) -> HttpResponse:
    """End the pause."""
    _check(request)
    now = timezone.now()
    with transaction.atomic():
        standing = list(pausing.in_force(None, now))
        pausing.resume(None, now=now)
        trail.noted(request.user, standing, "Resumed the whole service.")
    if standing:
        messages.success(request, _("The whole service is resumed."))
    else:
        messages.warning(request, _("The whole service was not paused."))
    return _back(request)


def _check(request: HttpRequest) -> None:
    if not rights.may_pause(request.user):
        raise PermissionDenied


def _back(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(_address_back(request))


def _address_back(request: HttpRequest) -> str:
    asked = request.POST.get("next") or request.GET.get("next") or ""
    is_own = url_has_allowed_host_and_scheme(
        asked, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return asked if is_own else reverse("admin:django_celery_beat_periodictask_changelist")


def _until(pause: Pause, now: datetime) -> str:
    away = f" ({moments.relative(pause.until, now)})" if pause.until else ""
    return pause_words.until(pause.until) + away
