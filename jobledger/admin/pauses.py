"""Pausing in the admin: the form, the banner of a paused service, and pausing and resuming, which are logged.

The template ``jobledger/pauses/notice.html`` shows the banner for ``service_pause``, which is passed as
``service``. ``admin:jobledger_service_pause`` shows the form and pauses the service,
``admin:jobledger_service_resume`` resumes it; both redirect to the page that they were opened from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django import forms
from django.contrib import messages
from django.contrib.admin import AdminSite
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST
from django_celery_beat.models import PeriodicTask

from jobledger import clock, formats
from jobledger.admin import audit_log, rights
from jobledger.admin.fields import DateTimeField
from jobledger.admin.rights import User
from jobledger.admin_site import page_url, page_view
from jobledger.jobs import registry
from jobledger.jobs.declaration import PausedSlots
from jobledger.models import Pause, pause_terms
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms

LENGTHS = {
    "15min": ("15 minutes", timedelta(minutes=15)),
    "1h": ("1 hour", timedelta(hours=1)),
    "4h": ("4 hours", timedelta(hours=4)),
    "1d": ("1 day", timedelta(days=1)),
    "7d": ("7 days", timedelta(days=7)),
}
OPEN, UNTIL = "open", "until"


class PauseForm(forms.Form):
    """The terms of a pause that starts ``now``."""

    length = forms.ChoiceField(
        label="Duration",
        choices=[
            *((value, label) for value, (label, _length) in LENGTHS.items()),
            (OPEN, "until resumed"),
            (UNTIL, "until the time below"),
        ],
        initial="1h",
    )
    until = DateTimeField(label="Until", required=False)
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=Pause._meta.get_field("reason").max_length,
        help_text="Shown with the pause and the runs that it skips.",
    )
    on_resume = forms.ChoiceField(
        label="Runs due during the pause",
        choices=Pause._meta.get_field("on_resume").choices or (),
        initial=PausedSlots.SKIP,
    )

    def __init__(self, data: object = None, *, now: datetime) -> None:
        super().__init__(data, label_suffix="")  # type: ignore[arg-type]  # the stubs want a dict
        self.now = now
        zone = timezone.get_current_timezone_name()
        self.fields["until"].help_text = f"For “until the time below”. In {zone}."

    def clean_until(self) -> datetime | None:
        """Required, and validated, only if this option is selected."""
        until: datetime | None = self.cleaned_data["until"]
        if self.cleaned_data.get("length") != UNTIL:
            return None
        if until is None:
            raise forms.ValidationError("Enter a time.")
        if until <= self.now:
            raise forms.ValidationError(f"{formats.exact(until)} is not in the future.")
        return until

    def terms(self, user: User) -> Terms:
        """The terms, with the user who pauses."""
        length, until = self.cleaned_data["length"], self.cleaned_data["until"]
        if length in LENGTHS:
            until = (self.now + LENGTHS[length][1]).replace(microsecond=0)
        return Terms(
            until=until,
            reason=self.cleaned_data["reason"],
            username=user.get_username(),
            user=None if isinstance(user, AnonymousUser) else user,
            on_resume=PausedSlots(self.cleaned_data["on_resume"]),
        )


@dataclass(frozen=True, kw_only=True)
class ServicePause:
    """The banner of a service pause, for a user on a page."""

    pause: Pause | None
    may_pause: bool
    terms: str
    """The user, end and reason of the pause; empty if the service is not paused."""
    since: str
    exempt: Sequence[str]
    """The jobs that it does not stop."""
    """Which jobs the pause does not stop; empty if it stops all."""
    back: str
    """The URL of the page that shows the banner."""


def service_pause(request: HttpRequest, now: datetime) -> ServicePause:
    """The banner for the requested page. Takes one query, besides those for the user's permissions."""
    pause = pausing.active_pauses(None, now).order_by("since").first()
    return ServicePause(
        pause=pause,
        may_pause=rights.may_pause(request.user),
        terms=pausing.terms_of(pause, now) if pause else "",
        since=pausing.since_of(pause, now) if pause else "",
        exempt=[job.name for job in registry.exempt_from_pauses()] if pause else [],
        back=request.get_full_path(),
    )


@transaction.atomic
def pause_schedules(user: User, schedules: Sequence[PeriodicTask], terms: Terms, now: datetime) -> str:
    """Pause the schedules; returns the text for the audit log, such as ``Paused until …``."""
    pausing.pause_all([schedule.pk for schedule in schedules], terms, now=now)
    text = f"Paused {_format_terms(terms)}."
    audit_log.log_action(user, schedules, text)
    return text


@transaction.atomic
def resume_schedules(user: User, schedules: Sequence[PeriodicTask], now: datetime) -> list[PeriodicTask]:
    """End the schedules' own pauses; returns the schedules that were paused."""
    resumed_ids = pausing.resume_all([schedule.pk for schedule in schedules], now=now)
    resumed = [schedule for schedule in schedules if schedule.pk in resumed_ids]
    audit_log.log_action(user, resumed, "Resumed.")
    return resumed


@transaction.atomic
def pause_service(user: User, terms: Terms, now: datetime) -> Pause:
    """Pause the whole service, or change the end of its pause."""
    pause, _is_new = pausing.pause(None, terms, now=now)
    audit_log.log_action(user, [pause], f"Paused the whole service {_format_terms(terms)}.")
    return pause


@transaction.atomic
def resume_service(user: User, now: datetime) -> bool:
    """End the pauses of the whole service; returns whether it was paused."""
    active = list(pausing.active_pauses(None, now))
    pausing.resume(None, now=now)
    audit_log.log_action(user, active, "Resumed the whole service.")
    return bool(active)


def urls(site: AdminSite) -> list[URLPattern]:
    """The URLs for pausing and resuming the whole service."""

    def pause(request: HttpRequest) -> HttpResponse:
        return _pause_view(site, request)

    return [
        path(
            "pause_service/",
            page_view(site, require_http_methods(["GET", "POST"])(pause)),
            name="jobledger_service_pause",
        ),
        path("resume_service/", page_view(site, require_POST(_resume_view)), name="jobledger_service_resume"),
    ]


def _pause_view(site: AdminSite, request: HttpRequest) -> HttpResponse:
    _check_permission(request)
    now = clock.now()
    form = PauseForm(request.POST or None, now=now)
    if form.is_valid():
        pause_service(request.user, form.terms(request.user), now)
        messages.success(request, "The whole service is paused.")
        return HttpResponseRedirect(_url_back(request))
    context = {
        **site.each_context(request),
        "title": "Pause the whole service",
        "step": "Pause the whole service",
        "form": form,
        "back": _url_back(request),
        "is_paused": pausing.active_pauses(None, now).exists(),
        "exemptions": pausing.exemptions(),
    }
    return TemplateResponse(request, "jobledger/pauses/service.html", context)


def _resume_view(request: HttpRequest) -> HttpResponse:
    _check_permission(request)
    if resume_service(request.user, clock.now()):
        messages.success(request, "The whole service has been resumed.")
    else:
        messages.warning(request, "The whole service was not paused.")
    return HttpResponseRedirect(_url_back(request))


def _check_permission(request: HttpRequest) -> None:
    if not rights.may_pause(request.user):
        raise PermissionDenied


def _url_back(request: HttpRequest) -> str:
    requested = request.POST.get("next") or request.GET.get("next") or ""
    is_safe = url_has_allowed_host_and_scheme(
        requested, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return requested if is_safe else page_url("django_celery_beat_periodictask_changelist")


def _format_terms(terms: Terms) -> str:
    """Omits the user, which every entry in the audit log has anyway."""
    return pause_terms(formats.exact(terms.until) if terms.until else None, reason=terms.reason)
