"""Every page: accessible, without console errors or policy violations, and usable on a phone."""

import pytest
from playwright.sync_api import expect

from tests.e2e.browser.site import People, violations, width_beyond_the_window

pytestmark = [pytest.mark.browser, pytest.mark.takes_long]

PAGES = (
    "",
    "jobledger/run/",
    "jobledger/job/",
    "jobledger/job/choosing/",
    "jobledger/job/choosing/run/",
    "jobledger/run/?status=broken&from=soon",
    "django_celery_beat/periodictask/",
    "django_celery_beat/periodictask/pause_service/",
    "django_celery_beat/periodictask/week/",
    "jobledger/alert/",
    "jobledger/alertrule/add/",
    "jobledger/alertdestination/1/change/",
    "everything/",
    "jobledger/following/?job=choosing",
)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_accessible_and_without_errors(people: People, path: str, scheme: str) -> None:
    page = people.open(path, scheme=scheme)
    assert violations(page) == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone(people: People, path: str) -> None:
    page = people.open(path, width=360)
    assert width_beyond_the_window(page) == 0


@pytest.mark.parametrize("javascript", [True, False])
def test_on_a_phone_the_header_is_one_line_with_a_menu(people: People, javascript: bool) -> None:
    page = people.open(width=390, javascript=javascript)
    header = page.locator("#header").bounding_box()
    assert header is not None
    assert header["height"] < 50
    runs = page.get_by_role("link", name="Runs", exact=True)
    expect(runs).to_be_hidden()

    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    runs.click()
    page.wait_for_url("**/admin/jobledger/run/")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_menu_opens_by_keyboard_and_is_accessible(people: People, scheme: str) -> None:
    page = people.open(width=390, scheme=scheme)
    page.get_by_role("button", name="Menu").focus()
    page.keyboard.press("Enter")
    home = page.get_by_role("navigation", name="Sections").get_by_role("link", name="Home")
    page.keyboard.press("Tab")
    expect(home).to_be_focused()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(home).to_be_hidden()


def test_the_sections_can_be_reached_by_keyboard(people: People) -> None:
    page = people.open()
    page.get_by_role("link", name="Runs", exact=True).first.focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/jobledger/run/")


def test_a_script_in_a_page_would_not_be_executed(people: People) -> None:
    page = people.open()
    page.evaluate(
        "const script = document.createElement('script'); script.textContent = 'window.executed = 1';"
        "document.body.append(script)"
    )
    assert page.evaluate("window.executed") is None
    assert any("Content Security Policy" in problem for problem in people.problems)
    people.problems.clear()
