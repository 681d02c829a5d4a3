"""The list of schedules and its actions in a browser, with worker and beat running."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.browser.site import People, violations
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

LIST = "django_celery_beat/periodictask/"
MAKE = """
from django_celery_beat.models import CrontabSchedule, PeriodicTask
crontab = CrontabSchedule.objects.create(minute="0", hour="3", day_of_month="1")
PeriodicTask.objects.create(name={name!r}, task="probes.probe", crontab=crontab, description={name!r})
"""

MAKE_HOURLY = """
from django_celery_beat.models import CrontabSchedule, PeriodicTask
crontab = CrontabSchedule.objects.create(minute="59")
PeriodicTask.objects.create(name="to crowd the week", task="probes.probe", crontab=crontab)
"""


def schedule(people: People, name: str) -> str:
    """Create a schedule that is due once a month; returns its name."""
    people.site.service.shell(MAKE.format(name=name))
    return name


def row_of(page: Page, name: str) -> Locator:
    """The row or card of the schedule."""
    return page.locator("#result_list tbody tr").filter(has=page.get_by_role("link", name=name, exact=True))


def select(page: Page, name: str) -> None:
    row_of(page, name).get_by_role("checkbox").check()


def press(page: Page, button: str) -> None:
    page.locator("#changelist-form").get_by_role("button", name=button, exact=True).click()


def _has_succeeded(page: Page, name: str) -> bool:
    """Whether the reloaded list shows that the last run succeeded."""
    page.goto(f"/admin/{LIST}")
    return row_of(page, name).locator(".field-last_run").get_by_role("link", name="succeeded").is_visible()


def test_a_schedule_is_paused_with_a_reason_and_resumed(people: People) -> None:
    name = schedule(people, "to pause")
    page = people.open(LIST, role="operator")
    select(page, name)
    press(page, "Pause…")
    page.get_by_label("Duration").select_option("4 hours")
    page.get_by_label("Reason").fill("the database moves")
    assert violations(page) == []
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(row_of(page, name)).to_contain_text(
        re.compile(r"paused\s*by operator until .*: the database moves")
    )
    select(page, name)
    press(page, "Resume")
    expect(row_of(page, name).locator(".field-status")).to_have_text("enabled")


def test_run_now_adds_a_mark_that_links_to_the_run(people: People) -> None:
    name = schedule(people, "to run")
    page = people.open(LIST, role="operator")
    expect(row_of(page, name)).to_contain_text("none yet")
    select(page, name)
    press(page, "Run now")
    page.get_by_text("Run started").wait_for()
    wait_until(lambda: _has_succeeded(page, name), what="the run has succeeded")
    expect(row_of(page, name).get_by_role("link", name="Last run: 1 succeeded")).to_be_visible()
    row_of(page, name).locator(".field-last_run").get_by_role("link").click()
    page.wait_for_url(re.compile(r"/jobledger/run/[0-9a-f-]{36}/"))


def test_the_week_shows_which_schedules_start_in_an_hour_without_leaving_the_page(people: People) -> None:
    people.site.service.shell(MAKE_HOURLY)
    page = people.open(LIST, role="viewer")
    page.get_by_role("link", name="Week", exact=True).click()
    hour = page.locator("#week a").nth(30)
    hour.click()
    listed = page.locator("#week-hour")
    expect(listed.get_by_role("link", name="to crowd the week")).to_be_visible()
    expect(page.locator("#week a[aria-current]")).to_have_count(1)
    expect(hour).to_have_attribute("aria-current", "true")
    assert "hour=" not in page.url
    assert violations(page) == []


def test_a_viewer_has_no_buttons_and_no_permission(people: People) -> None:
    name = schedule(people, "to look at")
    page = people.open(LIST, role="viewer")
    expect(row_of(page, name)).to_be_visible()
    assert page.get_by_role("button", name="Run now").count() == 0
    assert page.get_by_role("checkbox").count() == 0
    assert page.get_by_role("link", name="Pause the whole service…").count() == 0
    token = page.context.cookies(page.url)
    csrf = next(cookie["value"] for cookie in token if cookie["name"] == "csrftoken")
    form: dict[str, str | float | bool] = {
        "action": "run_tasks",
        "_selected_action": "1",
        "csrfmiddlewaretoken": csrf,
    }
    answer = page.request.post(f"/admin/{LIST}", form=form, headers={"Referer": page.url})
    assert answer.status == 403
    assert "CSRF" not in answer.text()


def test_the_whole_service_is_paused_and_resumed(people: People) -> None:
    page = people.open(LIST, role="operator")
    page.get_by_role("link", name="Pause the whole service…").click()
    page.get_by_label("Reason").fill("the broker moves")
    assert violations(page) == []
    page.get_by_role("button", name="Pause the whole service").click()
    banner = page.get_by_role("status").filter(has_text="The whole service is paused")
    expect(banner).to_contain_text(re.compile(r"by operator until .*: the broker moves"))
    banner.get_by_role("button", name="Resume the whole service").click()
    page.get_by_text("The whole service has been resumed.").wait_for()
    expect(banner).to_have_count(0)


def test_the_list_is_searched_by_keyboard(people: People) -> None:
    name, other = schedule(people, "to find"), schedule(people, "to overlook")
    page = people.open(LIST, role="viewer")
    page.get_by_label("Search").fill("find")
    page.keyboard.press("Enter")
    expect(row_of(page, name)).to_be_visible()
    expect(row_of(page, other)).to_have_count(0)
    assert violations(page) == []


def test_actions_work_without_javascript(people: People) -> None:
    name = schedule(people, "to switch")
    plain = people.open(LIST, role="editor", javascript=False)
    select(plain, name)
    press(plain, "Disable")
    expect(row_of(plain, name).locator(".field-status")).to_have_text("disabled")
    select(plain, name)
    press(plain, "Pause…")
    plain.get_by_role("button", name="Pause", exact=True).click()
    expect(row_of(plain, name).locator(".field-status")).to_contain_text("paused")


def test_a_phone_shows_a_card_for_each_schedule(people: People) -> None:
    name = schedule(people, "to hold in the hand")
    page = people.open(LIST, role="operator", width=390)
    card = row_of(page, name)
    box, table = card.bounding_box(), page.locator("#result_list").bounding_box()
    assert box is not None
    assert table is not None
    assert table["width"] <= 390
    assert box["height"] > 80
    expect(card.get_by_role("checkbox")).to_be_visible()
    assert violations(page) == []
