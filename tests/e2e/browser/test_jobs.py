"""Jobs in a browser: viewing them, running them with valid and invalid options, running them again."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser.site import People, violations
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

RUN_PAGE = re.compile(r"/admin/jobledger/run/[0-9a-f-]{36}/change/")


def succeed(page: Page) -> None:
    """Wait on the page of a run until the run has succeeded."""
    # Waits for the button, which is rendered slightly before the status is read again.
    wait_until(lambda: _reloaded(page).get_by_role("button", name="Run again").count() > 0, what="it ends")
    expect(page.locator(".run-sentence")).to_contain_text("Succeeded")


def _reloaded(page: Page) -> Page:
    page.reload()
    return page


def line(page: Page) -> Locator:
    """The command line, which is updated with the input."""
    return page.get_by_label("Equivalent command")


def test_a_job_is_run_after_an_invalid_option_is_corrected(people: People) -> None:
    page = people.open("jobledger/job/", role="operator")
    page.get_by_role("link", name="choosing", exact=True).click()
    page.get_by_role("link", name="Run now…").click()
    days = page.get_by_label("Days")
    days.fill("many")
    expect(line(page)).to_have_value("manage.py choosing --days many")
    page.get_by_role("button", name="Run now").click()
    expect(days).to_have_accessible_description(re.compile("argument --days: invalid int value: 'many'"))
    assert violations(page) == []
    days.fill("7")
    expect(line(page)).to_have_value("manage.py choosing --days 7")
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url(RUN_PAGE)
    succeed(page)
    expect(page.get_by_role("main")).to_contain_text("text 7 real")


def test_a_job_is_followed_by_keyboard(people: People) -> None:
    page = people.open("jobledger/job/choosing/")
    page.get_by_role("button", name="Subscribe to failures").press("Enter")
    expect(page.get_by_role("main")).to_contain_text("will be mailed to")
    page.get_by_role("link", name="Badge and calendar").press("Enter")
    page.get_by_role("button", name="Make a status badge").press("Enter")
    badge = page.get_by_role("img", name="Status of the job choosing")
    expect(badge).to_be_visible()
    assert badge.evaluate("image => image.naturalWidth") > 50
    address = page.get_by_label("Secret address of the status badge")
    expect(address).to_have_value(re.compile("/feeds/.+[.]svg"))
    assert violations(page) == []
    page.get_by_role("button", name="Unsubscribe from job choosing").press("Enter")
    expect(page.get_by_role("main")).to_contain_text("You have unsubscribed from the job choosing.")


def test_a_dry_run_is_a_button(people: People) -> None:
    page = people.open("jobledger/job/choosing/run/", role="operator")
    page.get_by_role("button", name="Dry run").click()
    page.wait_for_url(RUN_PAGE)
    succeed(page)
    expect(page.get_by_role("main")).to_contain_text("text 30 dry")


def test_the_command_line_follows_the_input_and_contains_no_secret(people: People) -> None:
    page = people.open("jobledger/job/choosing/run/", role="operator")
    page.get_by_label("Api key").fill("hunter2")
    page.get_by_label("Format").select_option("json")
    expect(line(page)).to_have_value("manage.py choosing --format json --api-key '********'")


def test_a_run_is_started_again_with_another_option(people: People) -> None:
    page = people.open("jobledger/job/choosing/run/", role="operator")
    page.get_by_label("Days").fill("3")
    page.get_by_label("Api key").fill("s3cret-enough")
    expect(line(page)).to_have_value("manage.py choosing --days 3 --api-key '********'")
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url(RUN_PAGE)
    succeed(page)
    page.get_by_role("link", name="Run again with other options…").click()
    expect(page.get_by_label("Days")).to_have_value("3")
    assert "s3cret-enough" not in page.content()
    page.get_by_label("Days").fill("4")
    expect(line(page)).to_have_value("manage.py choosing --days 4 --api-key '********'")
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url(RUN_PAGE)
    succeed(page)
    expect(page.get_by_role("main")).to_contain_text("text 4 real")
    expect(page.get_by_role("main")).to_contain_text("********")


def test_a_job_is_run_by_keyboard_alone(people: People) -> None:
    page = people.open("jobledger/job/hello/run/", role="operator")
    page.get_by_label("Verbosity").focus()
    page.keyboard.press("ArrowDown")
    page.get_by_role("button", name="Run now").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(RUN_PAGE)


def test_a_viewer_may_look_but_not_start(people: People) -> None:
    page = people.open("jobledger/job/choosing/", role="viewer")
    expect(page.get_by_role("heading", name="Recent runs")).to_be_visible()
    assert page.get_by_role("link", name="Run now…").count() == 0
    answer = page.request.get("/admin/jobledger/job/choosing/run/")
    assert answer.status == 403


def test_a_job_can_be_run_without_scripts(people: People) -> None:
    page = people.open("jobledger/job/choosing/run/", role="operator", javascript=False)
    page.get_by_label("Days").fill("5")
    page.get_by_role("button", name="Run now").click()
    page.wait_for_url(RUN_PAGE)
