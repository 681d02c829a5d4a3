"""The admin site, protected by the ways to sign in that the settings allow."""

from typing import Any

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponseNotAllowed
from django.urls import URLPattern, URLResolver, path
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from jobledger.admin_site import JobsAdminSite
from proj.sign_in import SINGLE_SIGN_ON_BACKEND


class SignInSite(JobsAdminSite):
    """Requires a password or single sign-on; with ``TOTP_REQUIRED``, a password and a code."""

    login_template = "sign_in/login.html"

    def get_urls(self) -> list[URLPattern | URLResolver]:
        """Add the page that asks for the code."""
        return [path("login/code/", self.login_code, name="login_code"), *super().get_urls()]

    def has_permission(self, request: HttpRequest) -> bool:
        """False also for a session that was started before codes were required."""
        return super().has_permission(request) and (not settings.TOTP_REQUIRED or _is_verified(request))

    @method_decorator(never_cache)
    @method_decorator(login_not_required)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Ask for the password, or link to single sign-on."""
        if request.method == "POST" and not settings.PASSWORD_LOGIN:
            return HttpResponseNotAllowed(["GET"])
        context = {
            "single_sign_on": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
            "password_login": settings.PASSWORD_LOGIN,
            **(extra_context or {}),
        }
        if settings.TOTP_REQUIRED and not (request.method == "GET" and self.has_permission(request)):
            from proj.sign_in import second_step

            return second_step.password_view(self, request, context)
        return super().login(request, context)

    @method_decorator(never_cache)
    @method_decorator(login_not_required)
    def login_code(self, request: HttpRequest) -> Any:
        """Ask for the code, after the password was correct."""
        if not settings.TOTP_REQUIRED:
            raise Http404
        from proj.sign_in import second_step

        return second_step.code_view(self, request)


def _is_verified(request: HttpRequest) -> bool:
    """Whether the user has entered a code. For single sign-on, that is up to the provider."""
    by_single_sign_on = request.session.get(BACKEND_SESSION_KEY) == SINGLE_SIGN_ON_BACKEND
    return by_single_sign_on or request.user.is_verified()  # type: ignore[union-attr]  # by OTPMiddleware
