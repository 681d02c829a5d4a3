"""Single sign-on by OpenID Connect: django-allauth does the protocol; this module decides who may log in.

allauth's own pages are not reachable, and of its views only the callback is. Accounts are identified by the
provider's subject, never by an email address or a name, which someone else could take over.
"""

import logging
from typing import Any, NoReturn

from allauth.account.adapter import DefaultAccountAdapter
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.adapter import get_adapter as get_social_adapter
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.providers.openid_connect import views
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET
from requests import RequestException

from proj.sign_in import SINGLE_SIGN_ON_BACKEND, groups

PROVIDER_ID = "oidc"
"""allauth's name for our only provider."""

log = logging.getLogger(__name__)


class SingleSignOnBackend(ModelBackend):
    """Marks sessions started by single sign-on. It never authenticates anyone by password."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Reject every password."""


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Logs in users whom the provider has authenticated."""

    def login(self, request: HttpRequest, user: User) -> None:
        """Use the backend that marks the session."""
        user.backend = SINGLE_SIGN_ON_BACKEND
        super().login(request, user)

    def add_message(self, *args: Any, **kwargs: Any) -> None:
        """Suppress the greeting on the admin's home."""


class ProviderAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Decides who may log in."""

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Update the user's permissions, even if there are fewer than at the last login."""
        claims = self._claims(request, sociallogin)
        granted = groups.granted_by(claims)
        user = sociallogin.user
        if sociallogin.is_existing:
            groups.apply(user, granted)
        if not user.is_active:
            refuse(request, "Your account is deactivated here. Ask an administrator.")
        if not granted:
            log.warning("Single sign-on refused %s: no group of OIDC_GROUPS.", sociallogin.account.uid)
            refuse(
                request,
                f"{settings.OIDC_NAME} knows you, but none of your groups may use this service. "
                "Ask an administrator.",
            )

    def save_user(self, request: HttpRequest, sociallogin: Any, form: Any = None) -> User:
        """Create the account at the first login."""
        user: User = super().save_user(request, sociallogin, form)
        groups.apply(user, groups.granted_by(self._claims(request, sociallogin)))
        return user

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,
        error: Any = None,
        exception: Exception | None = None,
        extra_context: dict[str, Any] | None = None,
    ) -> NoReturn:
        """Send the user back to the login with a message; the reason is only logged."""
        log.warning("Single sign-on failed: %s %s", error, exception or "")
        refuse(request, f"The login with {settings.OIDC_NAME} was cancelled or has failed. Try again.")

    def _claims(self, request: HttpRequest, sociallogin: Any) -> dict[str, Any]:
        """The claims about the user in the ID token and the UserInfo response."""
        data = sociallogin.account.extra_data
        id_token, user_info = data.get("id_token") or {}, data.get("userinfo") or {}
        # OpenID Connect Core 5.3.2: claims about another subject must not be used.
        if not id_token or user_info.get("sub", id_token["sub"]) != id_token["sub"]:
            self.on_authentication_error(request, None, "the ID token is missing, or is another user's")
        return {**id_token, **user_info}


def refuse(request: HttpRequest, sentence: str) -> NoReturn:
    """Send the user back to the login with this message."""
    messages.error(request, sentence)
    raise ImmediateHttpResponse(HttpResponseRedirect(reverse("admin:login")))


@never_cache
@login_not_required
@require_GET
def begin(request: HttpRequest) -> HttpResponse:
    """Redirect to the provider, and afterwards to the requested page of this site."""
    requested = request.GET.get("next", "")
    is_safe = url_has_allowed_host_and_scheme(
        requested, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    provider = get_social_adapter().get_provider(request, PROVIDER_ID)
    try:
        response: HttpResponse = provider.redirect(
            request, AuthProcess.LOGIN, next_url=requested if is_safe else reverse("admin:index")
        )
    except (RequestException, LookupError) as error:
        log.error("The provider of OIDC_ISSUER cannot be asked: %s", error)
        return _back(request, f"{settings.OIDC_NAME} does not answer. Try again in a minute.")
    return response


@never_cache
@login_not_required
@require_GET
def finish(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Handle the callback of the provider."""
    try:
        response: HttpResponse = views.callback(request, provider_id)
    except (LookupError, ValueError) as error:
        # The response lacks something that OpenID Connect requires.
        log.error("The provider of OIDC_ISSUER gave a wrong answer: %r", error)
        return _back(request, f"The answer of {settings.OIDC_NAME} cannot be used. Ask an administrator.")
    return response


def _back(request: HttpRequest, sentence: str) -> HttpResponse:
    messages.error(request, sentence)
    return HttpResponseRedirect(reverse("admin:login"))


urlpatterns = [
    path("oidc/login/", begin, name="single_sign_on"),
    path("oidc/callback/", finish, {"provider_id": PROVIDER_ID}, name="openid_connect_callback"),
]
