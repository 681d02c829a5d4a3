"""Logging in with a one-time code or through a provider."""

import re
import sys
import time
from base64 import b32decode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
from django_otp.oath import hotp
from playwright.sync_api import Browser, Page, expect

from tests.e2e.browser.site import (
    PASSWORD,
    People,
    Site,
    give_password,
    start_web,
    violations,
    wait_for_web,
    width_beyond_the_window,
)
from tests.identity_provider import describe
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")

MAKE_USER = """
from django.contrib.auth.models import User
User.objects.create_superuser("phoned", password={password!r})
"""


@pytest.fixture
def visitors(site: Site, browser: Browser) -> Iterator[People]:
    """Users of a web server that requires a code."""
    site.service.shell(MAKE_USER.format(password=PASSWORD))
    with people_at_a_web_server(site, browser, TOTP_REQUIRED="true") as made:
        yield made


@pytest.fixture
def visitors_of_a_provider(site: Site, browser: Browser) -> Iterator[People]:
    """Users of a web server with single sign-on."""
    port = free_port()
    issuer = f"http://127.0.0.1:{port}"
    variables = {
        "OIDC_ISSUER": issuer,
        "OIDC_NAME": "ACME",
        "OIDC_CLIENT_ID": "jobs",
        "OIDC_CLIENT_SECRET": "secret",
        "OIDC_GROUPS": "ops=Job operators",
    }
    start = site.service.start
    # Its tables remain in the database that all browser tests share, which works because none deletes a user.
    start("migrate", sys.executable, "manage.py", "migrate", "--verbosity", "0", **variables).wait(120)
    start("provider", sys.executable, "-m", "tests.identity_provider", str(port))
    try:
        with people_at_a_web_server(site, browser, **variables) as made:
            wait_until(lambda: is_described(issuer), what="the provider answers")
            yield made
    finally:
        site.service.stop("provider")
        site.service.processes.pop("migrate")


def is_described(issuer: str) -> bool:
    """Whether the provider has accepted its user."""
    try:
        describe(issuer, "olga", preferred_username="olga", groups=["ops"])
    except OSError:
        return False
    return True


@contextmanager
def people_at_a_web_server(site: Site, browser: Browser, **variables: str) -> Iterator[People]:
    """Users of a web server with these settings and the database of the site."""
    url = start_web(site.service, "other-web", **variables)
    made = People(site=Site(service=site.service, url=url), browser=browser)
    try:
        wait_for_web(url)
        yield made
    finally:
        made.close()
        site.service.stop("other-web")
    assert made.problems == []


def give_code(page: Page, code: str) -> None:
    page.get_by_label("Code", exact=True).fill(code)
    page.get_by_role("button", name="log in").first.click()


def code_for(key: bytes, step: int) -> str:
    """What an app shows during this half a minute since 1970."""
    return f"{hotp(key, step):06}"


def test_a_phone_is_set_up_and_then_required(visitors: People) -> None:
    page = visitors.visit("login/?next=/admin/jobledger/run/", viewport={"width": 360, "height": 800})
    give_password(page, "phoned")
    expect(page.get_by_role("img", name="The picture to scan")).to_be_visible()
    page.get_by_text("The app cannot scan it").click()
    key = b32decode(page.locator(".key").inner_text().replace(" ", ""))
    give_code(page, "000000")
    expect(page.get_by_text("This code is wrong")).to_be_visible()
    assert violations(page) == []
    assert width_beyond_the_window(page) == 0
    step = int(time.time()) // 30
    give_code(page, code_for(key, step))
    page.wait_for_url("**/admin/jobledger/run/")

    again = visitors.visit("login/", color_scheme="dark")
    assert violations(again) == []
    give_password(again, "phoned")
    expect(again.get_by_role("heading", name="Enter your code")).to_be_visible()
    assert violations(again) == []
    # The previous code has been used. This one is valid even if it was given at the end of its time, of which
    # the app's clock is then taken to be slow.
    give_code(again, code_for(key, step + 1))
    again.wait_for_url(re.compile(r"/admin/$"))


def test_the_providers_button_leads_through_the_provider_and_back(visitors_of_a_provider: People) -> None:
    page = visitors_of_a_provider.visit("jobledger/run/", viewport={"width": 360, "height": 800})
    # The page of the provider requests an external style sheet.
    page.route(re.compile("^https:"), lambda route: route.abort())
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert width_beyond_the_window(page) == 0
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    page.get_by_role("link", name="Sign in with ACME").click()
    page.get_by_placeholder("sub").fill("olga")
    page.get_by_role("button", name="Authorize").click()
    page.wait_for_url("**/admin/jobledger/run/")
    visitors_of_a_provider.problems.clear()

    page.get_by_role("button", name="Menu").click()
    page.get_by_role("button", name="Log out").click()
    page.goto(f"{visitors_of_a_provider.site.url}/admin/")
    expect(page.get_by_role("link", name="Sign in with ACME")).to_be_visible()
