"""Limits for failed logins: django-axes' own, per username and address, and two wider ones.

The limit per address slows down an address that tries one password with many usernames. The limit per
username slows down many addresses that guess one user's password. It has to be high, because it also locks
out the user.
"""

from typing import Any

from axes.attempts import get_cool_off_threshold
from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username, get_failure_limit
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Sum
from django.http import HttpRequest


class LoginLimits(AxesDatabaseHandler):  # type: ignore[misc]  # django-axes has no types
    """For ``AXES_HANDLER``."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """If a wider limit is reached, at least django-axes' own limit, so that it locks the login."""
        failures: int = super().get_failures(request, credentials)
        if self._is_over_a_wider_limit(request, credentials):
            return max(failures, int(get_failure_limit(request, credentials)))
        return failures

    def _is_over_a_wider_limit(self, request: HttpRequest, credentials: dict[str, Any] | None) -> bool:
        limits = {
            "ip_address": (getattr(request, "axes_ip_address", None), settings.LOGIN_ADDRESS_LIMIT),
            "username": (get_client_username(request, credentials), settings.LOGIN_NAME_LIMIT),
        }
        recent = AccessAttempt.objects.filter(attempt_time__gt=get_cool_off_threshold(request))
        return any(
            (recent.filter(**{column: value}).aggregate(sum=Sum("failures_since_start"))["sum"] or 0) >= limit
            for column, (value, limit) in limits.items()
            if value
        )
