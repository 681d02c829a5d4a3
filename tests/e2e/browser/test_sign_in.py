"""Signing in with more than a password."""

import re
from base64 import b32decode
from collections.abc import Iterator

import pytest
from django_otp.oath import totp
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

pytestmark = pytest.mark.browser

MAKE_USER = """
from django.contrib.auth.models import User
User.objects.create_superuser("phoned", password={password!r})
"""


@pytest.fixture
def visitors(site: Site, browser: Browser) -> Iterator[People]:
    """Those who come to a web server that asks for a code."""
    site.service.shell(MAKE_USER.format(password=PASSWORD))
    url = start_web(site.service, "web-with-totp", TOTP_REQUIRED="true")
    made = People(site=Site(service=site.service, url=url), browser=browser)
    try:
        wait_for_web(url)
        yield made
    finally:
        made.close()
        site.service.stop("web-with-totp")
    assert made.problems == []


def give_code(page: Page, code: str) -> None:
    page.get_by_label("Code", exact=True).fill(code)
    page.get_by_role("button", name="log in").first.click()


def code_for(key: bytes, *, drift: int = 0) -> str:
    return f"{totp(key, drift=drift):06}"


def test_a_phone_is_set_up_and_then_asked_for(visitors: People) -> None:
    page = visitors.visit("login/?next=/admin/jobledger/run/", viewport={"width": 360, "height": 800})
    give_password(page, "phoned")
    expect(page.get_by_role("img", name="The picture to scan")).to_be_visible()
    page.get_by_text("The app cannot scan it").click()
    key = b32decode(page.locator(".key").inner_text().replace(" ", ""))
    give_code(page, "000000")
    expect(page.get_by_text("This code is wrong")).to_be_visible()
    assert violations(page) == []
    assert width_beyond_the_window(page) == 0
    give_code(page, code_for(key))
    page.wait_for_url("**/admin/jobledger/run/")

    again = visitors.visit("login/", color_scheme="dark")
    assert violations(again) == []
    give_password(again, "phoned")
    expect(again.get_by_role("heading", name="Enter your code")).to_be_visible()
    assert violations(again) == []
    # The code before is used up.
    give_code(again, code_for(key, drift=1))
    again.wait_for_url(re.compile(r"/admin/$"))
