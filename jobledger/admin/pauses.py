"""The pause of the whole service: what pages show of it, and the pages that begin and end it.

A page shows it with ``of`` and the template ``jobledger/pauses/notice.html``, which takes the answer
as ``service``. The addresses belong to the admin of schedules: ``admin:jobledger_service_pause`` asks
and pauses, ``admin:jobledger_service_resume`` resumes; both go back to where they were called from.
"""

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
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods, require_POST

from jobledger.admin import audit_log, display, rights
from jobledger.admin.fields import MomentField
from jobledger.admin.rights import User
from jobledger.models import Pause
from jobledger.schedules import pausing
from jobledger.schedules.pausing import Terms
from jobledger.schedules.planning.policy import PausedSlots


def until(moment: datetime | None) -> str:
    """Its end, which may be open."""
    if moment is None:
        return "until somebody resumes it"
    return f"until {display.exact(moment)}"


def told(end: datetime | None, *, reason: str, who: str = "") -> str:
    """``until 2026-11-22 12:00:00 UTC, by ann: database moves``."""
    by_whom = f", by {who}" if who else ""
    return f"{until(end)}{by_whom}" + (f": {reason}" if reason else "")


LENGTHS = {
    "15min": ("for 15 minutes", timedelta(minutes=15)),
    "1h": ("for 1 hour", timedelta(hours=1)),
    "4h": ("for 4 hours", timedelta(hours=4)),
    "1d": ("for 1 day", timedelta(days=1)),
    "7d": ("for 7 days", timedelta(days=7)),
}
OPEN, MOMENT = "open", "moment"


class PauseForm(forms.Form):
    """The terms of a pause. ``now`` is when it begins."""

    length = forms.ChoiceField(
        label="How long",
        choices=[
            *((value, words) for value, (words, _length) in LENGTHS.items()),
            (OPEN, "until somebody resumes it"),
            (MOMENT, "until the moment below"),
        ],
        initial="1h",
    )
    until = MomentField(label="Until", required=False)
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=Pause._meta.get_field("reason").max_length,
        help_text="Kept with the pause and with the slots that it stops.",
    )
    on_resume = forms.ChoiceField(
        label="Slots in the pause",
        choices=Pause._meta.get_field("on_resume").choices or (),
        initial=PausedSlots.SKIP,
    )

    def __init__(self, data: object = None, *, now: datetime) -> None:
        """Ask; or, with data, judge what was answered."""
        super().__init__(data, label_suffix="")  # type: ignore[arg-type]  # the stubs want a dict
        self.now = now
        zone = timezone.get_current_timezone_name()
        self.fields["until"].help_text = f"Only with “until the moment below”. In {zone}."

    def clean_until(self) -> datetime | None:
        """Wanted only where it was chosen, and then after now."""
        until: datetime | None = self.cleaned_data["until"]
        if self.cleaned_data.get("length") != MOMENT:
            return None
        if until is None:
            raise forms.ValidationError("Say until when.")
        if until <= self.now:
            raise forms.ValidationError(f"{display.exact(until)} is not in the future.")
        return until

    def terms(self, user: User) -> Terms:
        """What was answered, by whom."""
        chosen, until = self.cleaned_data["length"], self.cleaned_data["until"]
        if chosen in LENGTHS:
            until = (self.now + LENGTHS[chosen][1]).replace(microsecond=0)
        return Terms(
            until=until,
            reason=self.cleaned_data["reason"],
            who=user.get_username(),
            user=None if isinstance(user, AnonymousUser) else user,
            on_resume=PausedSlots(self.cleaned_data["on_resume"]),
        )


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
            name="jobledger_service_pause",
        ),
        path("resume_service/", site.admin_view(require_POST(_resume_view)), name="jobledger_service_resume"),
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
        "title": "Pause the whole service",
        "step": "Pause the whole service",
        "form": form,
        "back": _address_back(request),
        "is_paused": pausing.in_force(None, now).exists(),
    }
    return TemplateResponse(request, "jobledger/pauses/service.html", context)


@transaction.atomic
def _pause(request: HttpRequest, form: PauseForm, now: datetime) -> None:
    terms = form.terms(request.user)
    pause, _is_new = pausing.pause(None, terms, now=now)
    how = told(terms.until, reason=terms.reason)
    audit_log.noted(request.user, [pause], f"Paused the whole service {how}.")
    messages.success(request, "The whole service is paused.")


def _resume_view(request: HttpRequest) -> HttpResponse:
    """End the pause."""
    _check(request)
    now = timezone.now()
    with transaction.atomic():
        standing = list(pausing.in_force(None, now))
        pausing.resume(None, now=now)
        audit_log.noted(request.user, standing, "Resumed the whole service.")
    if standing:
        messages.success(request, "The whole service is resumed.")
    else:
        messages.warning(request, "The whole service was not paused.")
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
    away = f" ({display.relative(pause.until, now)})" if pause.until else ""
    return until(pause.until) + away
