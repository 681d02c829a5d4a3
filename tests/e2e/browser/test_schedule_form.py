"""Editing schedules in a browser: form, preview, saving and conflicts."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser.site import People, violations, width_beyond_the_window
from tests.waiting import wait_until

pytestmark = pytest.mark.browser

LIST = "django_celery_beat/periodictask/"
ADD = f"{LIST}add/"


def fill(page: Page, name: str, *, job: str = "hello", cron: str = "") -> None:
    """Fill in the form of a new schedule, and wait for the options of its job."""
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Job", exact=True).select_option(job)
    expect(page.get_by_label("Equivalent command")).to_have_value(re.compile(f"manage.py {job}"))
    if cron:
        page.get_by_label("Cron expression").fill(cron)


def expect_preview(page: Page, text: str) -> None:
    """Wait until the preview shows this text."""
    expect(page.get_by_role("complementary", name="Preview").get_by_text(text).first).to_be_visible()


def save(page: Page, message: str) -> None:
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text(message)).to_be_visible()


def nightly(people: People, name: str) -> Page:
    """The page of a newly created schedule."""
    page = people.open(ADD)
    fill(page, name, cron="30 3 * * *")
    expect_preview(page, "every day at 03:30 UTC")
    save(page, "was added.")
    return page


def test_a_schedule_created_in_the_form_runs(people: People) -> None:
    page = people.open(ADD, role="editor")
    fill(page, "every second")
    page.get_by_label("Interval", exact=True).check()
    page.get_by_label("Every", exact=True).fill("1")
    page.get_by_label("Unit").select_option("seconds")
    expect_preview(page, "every second")
    expect_preview(page, "Saving starts no run.")
    save(page, "Next run:")

    run = page.locator(".edit-status").get_by_role("link", name="succeeded")
    wait_until(lambda: page.reload() is not None and run.is_visible(), what="the page names a run")
    bar = page.get_by_role("group", name=re.compile("^Durations")).locator("a").last
    expect(bar).to_have_accessible_name(re.compile("^succeeded, "))
    assert violations(page) == []
    assert violations(people.open("jobledger/job/hello/", scheme="dark")) == []
    page.get_by_label("Enabled").uncheck()
    expect_preview(page, "Disabled:")
    save(page, "was saved.")
    expect(page.locator(".edit-status").get_by_text("disabled")).to_be_visible()


def test_choosing_a_job_displays_its_options_and_its_command(people: People) -> None:
    page = people.open(ADD)
    fill(page, "unsaved", job="cleanup_tokens")
    page.get_by_label("Days").fill("7")
    expect(page.get_by_label("Equivalent command")).to_have_value("manage.py cleanup_tokens --days 7")
    page.get_by_label("JSON", exact=True).check()
    expect(page.get_by_label("Options (JSON)")).to_have_value('{"days": 7}')


def test_an_edit_is_previewed_before_it_is_saved(people: People) -> None:
    page = nightly(people, "previewed")
    page.get_by_label("Cron expression").fill("30 1 * * *")
    page.get_by_label("Time zone").fill("Europe/London")
    for text in ("every day at 01:30 Europe/London", "removed", "right after the change"):
        expect_preview(page, text)
    page.reload()
    expect(page.get_by_label("Cron expression")).to_have_value("30 3 * * *")


def test_an_invalid_cron_field_and_an_invalid_option_have_errors_next_to_their_fields(people: People) -> None:
    page = people.open(ADD)
    fill(page, "bad", job="cleanup_tokens", cron="30 25 * * *")
    page.get_by_label("Days").fill("many")
    expect_preview(page, "hour: 25 is not between 0 and 23")
    expect(page.get_by_label("Equivalent command")).to_have_value("manage.py cleanup_tokens --days many")
    save(page, "Not saved.")
    expect(page.locator("#id_times-cron_error")).to_have_text("hour: 25 is not between 0 and 23")
    expect(page.locator("#id_option-days_error")).to_contain_text("argument --days")
    assert violations(page) == []


def test_the_second_editor_is_warned_and_may_overwrite(people: People) -> None:
    first = nightly(people, "contested")
    address = first.url.partition("/admin/")[2]
    second = people.open(address, role="second_editor")
    first.get_by_label("Cron expression").fill("0 4 * * *")
    expect_preview(first, "every day at 04:00")
    save(first, "was saved.")

    second.get_by_label("Description").fill("asked for by the second")
    save(second, "This schedule was changed while you were editing it.")
    alert = second.get_by_role("alert")
    expect(alert).to_contain_text("Your changes have not been saved.")
    expect(alert).to_contain_text("admin")
    expect(alert.get_by_role("row", name=re.compile("0 4 \\* \\* \\*")).first).to_be_visible()
    assert violations(second) == []
    second.get_by_role("button", name="Overwrite").click()
    expect(second.get_by_text("was saved.")).to_be_visible()


def test_who_changed_what_is_in_the_history(people: People) -> None:
    page = nightly(people, "remembered")
    page.get_by_label("Cron expression").fill("0 5 * * *")
    expect_preview(page, "every day at 05:00")
    save(page, "was saved.")
    page.get_by_role("link", name="History").click()
    change = page.get_by_role("row", name="Timing").first
    expect(change).to_contain_text("every day at 03:30")
    expect(change).to_contain_text("every day at 05:00")
    assert violations(page) == []


def test_a_schedule_is_paused_with_a_reason_and_resumed(people: People) -> None:
    address = nightly(people, "paused and resumed").url.partition("/admin/")[2]
    page = people.open(address, role="operator")
    page.locator("summary", has_text="Pause").click()
    page.get_by_label("Reason").fill("the database moves")
    page.get_by_role("button", name="Pause", exact=True).click()
    state = page.locator(".edit-status")
    expect(state).to_contain_text(re.compile(r"by operator until .*: the database moves"))
    page.get_by_role("button", name="Resume").click()
    expect(state).to_contain_text("enabled")


def test_a_viewer_sees_the_schedule_but_cannot_change_it(people: People) -> None:
    address = nightly(people, "only looked at").url.partition("/admin/")[2]
    page = people.open(address, role="viewer")
    expect(page.get_by_text("every day at 03:30").first).to_be_visible()
    expect(page.get_by_role("button", name="Save")).to_have_count(0)
    expect(page.locator("summary")).to_have_count(0)
    assert violations(page) == []


def test_without_javascript_a_schedule_is_created_in_two_steps(people: People) -> None:
    page = people.open(ADD, javascript=False)
    page.get_by_label("Name", exact=True).fill("without scripts")
    page.get_by_label("Job", exact=True).select_option("hello")
    page.get_by_role("button", name="Show options").click()
    page.get_by_label("Cron expression").fill("30 3 * * *")
    page.get_by_role("button", name="Preview").click()
    expect_preview(page, "every day at 03:30 UTC")
    save(page, "was added.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_is_accessible(people: People, scheme: str) -> None:
    page = people.open(f"{ADD}?job=cleanup_tokens", scheme=scheme)
    page.get_by_label("Cron expression").fill("30 1 * * *")
    expect_preview(page, "every day at 01:30 UTC")
    assert violations(page) == []


def test_the_form_fits_a_phone(people: People) -> None:
    page = people.open(f"{ADD}?job=cleanup_tokens", width=360)
    assert width_beyond_the_window(page) == 0
    page = people.open(
        nightly(people, "a long name for a small screen").url.partition("/admin/")[2], width=360
    )
    assert width_beyond_the_window(page) == 0


@pytest.mark.parametrize("height", [900, 300])
def test_the_preview_stays_in_view_while_the_form_scrolls(people: People, height: int) -> None:
    page = nightly(people, f"previewed in {height} pixels")
    page.set_viewport_size({"width": 1280, "height": height})

    page.evaluate("window.scrollTo(0, 600)")
    preview = page.get_by_role("complementary", name="Preview")
    box = preview.bounding_box()
    assert box is not None
    assert box["y"] >= 0
    assert box["y"] + box["height"] <= height
    # The rest can be reached by scrolling, including by keyboard.
    preview.focus()
    page.keyboard.press("End")
    expect(preview.get_by_role("heading").last).to_be_in_viewport()
    assert violations(page) == []


@pytest.mark.parametrize("width", [1280, 1440])
def test_fields_are_next_to_each_other_on_a_laptop(people: People, width: int) -> None:
    page = people.open(ADD, width=width)
    cron = page.get_by_label("Cron expression").bounding_box()
    zone = page.get_by_label("Time zone").bounding_box()
    assert cron is not None
    assert zone is not None
    assert zone["y"] == cron["y"]
    assert zone["x"] > cron["x"] + cron["width"]
    assert width_beyond_the_window(page) == 0


def test_the_form_can_be_filled_in_by_keyboard(people: People) -> None:
    page = people.open(f"{ADD}?job=hello")
    page.get_by_label("Name", exact=True).focus()
    page.keyboard.type("typed")
    page.get_by_label("Cron expression").focus()
    page.keyboard.type("0 6 * * *")
    expect_preview(page, "every day at 06:00 UTC")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/admin/{LIST}")
    expect(page.get_by_text("“typed” was added.")).to_be_visible()
