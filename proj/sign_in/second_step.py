"""The two pages of a sign-in with a second factor: the password, then the code.

The actual login happens after the code, so that no other code has to deal with half-authenticated users.
Users without a second factor set one up on the second page. A wrong code counts as a failed login.
"""

from base64 import b32encode
from dataclasses import replace
from typing import Any

from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_lockout_response
from django import forms
from django.contrib.admin import AdminSite
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.contrib.auth.views import LoginView
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.generic import FormView
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice

from proj.sign_in import devices
from proj.sign_in.pending import Pending, pending_in


def password_view(site: AdminSite, request: HttpRequest, extra_context: dict[str, Any]) -> Any:
    """The first page."""
    request.current_app = site.name
    context = {
        **site.each_context(request),
        "title": "Log in",
        "app_path": request.get_full_path(),
        "username": request.user.get_username(),
        **extra_context,
    }
    return PasswordStep.as_view(template_name=site.login_template, extra_context=context)(request)


def code_view(site: AdminSite, request: HttpRequest) -> Any:
    """The second page."""
    request.current_app = site.name
    return CodeStep.as_view(extra_context=site.each_context(request))(request)


class PasswordStep(LoginView):
    """Django's login view, but without logging in."""

    authentication_form = AdminAuthenticationForm

    def get_default_redirect_url(self) -> str:
        return reverse("admin:index")

    def form_valid(self, form: AuthenticationForm) -> HttpResponseRedirect:
        """Remember that the password was correct, and ask for the code."""
        user = form.get_user()
        Pending(
            user_id=user.pk,
            session_hash=user.get_session_auth_hash(),
            backend=user.backend,
            next_url=self.get_success_url(),
        ).save(self.request)
        return HttpResponseRedirect(reverse("admin:login_code"))


class CodeForm(forms.Form):
    """Accepts a code from the app, or a recovery code."""

    code = forms.CharField(
        max_length=32,
        label="Code",
        error_messages={"required": "Enter a code."},
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "autofocus": True, "spellcheck": "false"},
        ),
    )

    def clean_code(self) -> str:
        """Remove the spaces that apps display between digits."""
        return "".join(self.cleaned_data["code"].split()).lower()


class CodeStep(FormView):  # type: ignore[type-arg]  # generic in the stubs only
    """Asks for a code from the user's second factor, or from the one being set up."""

    form_class = CodeForm
    pending: Pending
    user: User

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Require that the password was correct a few minutes ago, and that the login is not locked."""
        pending = pending_in(request)
        user = pending.load_user() if pending else None
        if pending is None or user is None:
            return HttpResponseRedirect(reverse("admin:login"))
        credentials = {"username": user.get_username()}
        if not AxesProxyHandler.is_allowed(request, credentials):
            return get_lockout_response(request, credentials=credentials)
        self.pending, self.user = pending, user
        return super().dispatch(request, *args, **kwargs)

    @property
    def is_recovery(self) -> bool:
        """Whether a recovery code was accepted, so that the old app can be replaced."""
        return self.pending.recovery_device_id is not None

    @property
    def is_enrolment(self) -> bool:
        """Whether a new app is being set up."""
        return self.is_recovery or not devices.has_second_factor(self.user)

    def get_template_names(self) -> list[str]:
        """Use a different page for setting up an app."""
        return ["sign_in/enrol.html" if self.is_enrolment else "sign_in/code.html"]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add what is needed to set up an app."""
        context = {"is_recovery": self.is_recovery, "username": self.user.get_username(), **kwargs}
        if self.is_enrolment:
            device = devices.new_device(self.user, self.pending.key)
            context["title"] = "Set up your phone"
            context["qr_code"] = devices.qr_code(device.config_url)
            context["key"] = _readable_key(device.bin_key)
        else:
            context["title"] = "Enter your code"
        return super().get_context_data(**context)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """After a recovery code, the user may keep the old app."""
        if self.is_recovery and "keep" in request.POST:
            return self._sign_in(get_object_or_404(StaticDevice, pk=self.pending.recovery_device_id))
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: CodeForm) -> HttpResponse:
        code = form.cleaned_data["code"]
        try:
            if self.is_enrolment:
                return self._sign_in(devices.enrol(self.user, self.pending.key, code))
            device = devices.verify(self.user, code)
        except ValidationError as error:
            form.add_error("code", error)
            if not self.is_enrolment and error.code == "wrong":
                self._report_failure()
            return self.form_invalid(form)
        return self._recover(device) if isinstance(device, StaticDevice) else self._sign_in(device)

    def _report_failure(self) -> None:
        """Report a failure to django-axes, which locks the login after too many."""
        user_login_failed.send(
            sender=__name__, credentials={"username": self.user.get_username()}, request=self.request
        )

    def _recover(self, device: Device) -> HttpResponse:
        """After a recovery code, offer to set up another phone."""
        replace(self.pending, recovery_device_id=device.pk).save(self.request)
        return HttpResponseRedirect(reverse("admin:login_code"))

    def _sign_in(self, device: Device) -> HttpResponse:
        self.user.otp_device = device  # type: ignore[attr-defined]  # django-otp keeps it in the session
        login(self.request, self.user, backend=self.pending.backend)
        Pending.forget(self.request)
        return HttpResponseRedirect(self.pending.next_url)


def _readable_key(key: bytes) -> str:
    """For entering it in the app: base32 in groups of four."""
    text = b32encode(key).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))
