"""The service with TOTP_REQUIRED."""

import pytest
from pytest_django import Settings

from proj.settings import MIDDLEWARE

AFTER = "django.contrib.auth.middleware.AuthenticationMiddleware"


@pytest.fixture
def totp(settings: Settings) -> None:
    """A code is required in addition to the password."""
    settings.TOTP_REQUIRED = True
    place = MIDDLEWARE.index(AFTER) + 1
    settings.MIDDLEWARE = [
        *MIDDLEWARE[:place],
        "django_otp.middleware.OTPMiddleware",
        *MIDDLEWARE[place:],
    ]
