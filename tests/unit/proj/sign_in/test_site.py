"""The login page offers only the ways to sign in that the settings allow."""

import os
import subprocess
import sys

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import path
from django.views.generic import RedirectView
from pytest_django import Settings

from proj import urls
from proj.state import BASE_DIR

pytestmark = [pytest.mark.django_db, pytest.mark.one_database]

LOGIN = "/admin/login/"

urlpatterns = [
    *urls.urlpatterns,
    path("oidc/login/", RedirectView.as_view(url="https://login.example.com"), name="single_sign_on"),
]


@pytest.fixture
def single_sign_on(settings: Settings) -> None:
    """A provider, of which only the address is needed here."""
    settings.ROOT_URLCONF = __name__
    settings.OIDC_ISSUER = "https://login.example.com"
    settings.OIDC_NAME = "ACME <Staff>"


def test_without_the_settings_no_library_of_theirs_is_imported() -> None:
    """They are not needed either: their dependency groups may be left out."""
    code = (
        "import sys, django; sys.modules.update(dict.fromkeys(['django_otp', 'segno', 'allauth']));"
        "django.setup(); from django.core.management import call_command; call_command('check')"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "proj.settings", "SECRET_KEY": "only-for-tests"}
    subprocess.run([sys.executable, "-c", code], cwd=BASE_DIR, env=environment, check=True, timeout=60)


def test_without_a_provider_there_is_only_the_password(client: Client) -> None:
    page = client.get(LOGIN).text
    assert "Sign in with" not in page
    assert 'name="password"' in page
    assert client.get("/oidc/login/").status_code == 404


@pytest.mark.usefixtures("single_sign_on")
def test_single_sign_on_is_offered_in_addition_to_the_password(client: Client) -> None:
    page = client.get(f"{LOGIN}?next=/admin/jobledger/run/%3Fstatus%3Dfailed%26x").text
    assert 'href="/oidc/login/?next=/admin/jobledger/run/%3Fstatus%3Dfailed%26x">' in page
    assert "Sign in with ACME &lt;Staff&gt;" in page
    assert 'name="password"' in page


@pytest.mark.usefixtures("single_sign_on", "totp")
def test_single_sign_on_is_offered_even_if_passwords_need_a_code(client: Client) -> None:
    assert "Sign in with ACME" in client.get(LOGIN).text
    User.objects.create_superuser("ann", password="right")
    assert "Sign in with ACME" in client.post(LOGIN, {"username": "ann", "password": "wrong"}).text


@pytest.mark.usefixtures("single_sign_on")
def test_a_page_on_another_site_is_not_passed_on(client: Client) -> None:
    page = client.get(f"{LOGIN}?next=https://elsewhere.example.com/").text
    assert 'href="/oidc/login/?next="' in page


@pytest.mark.usefixtures("single_sign_on")
@pytest.mark.parametrize("totp_required", [False, True])
def test_without_password_login_no_password_is_accepted(
    client: Client, settings: Settings, totp_required: bool, request: pytest.FixtureRequest
) -> None:
    if totp_required:
        request.getfixturevalue("totp")
    settings.PASSWORD_LOGIN = False
    User.objects.create_superuser("ann", password="right")
    assert 'name="password"' not in client.get(LOGIN).text
    assert client.post(LOGIN, {"username": "ann", "password": "right"}).status_code == 405
    assert "_auth_user_id" not in client.session
