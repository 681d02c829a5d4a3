"""Every page for everybody: no error in the console, nothing that the page's policy forbids, accessible."""

import pytest

from tests.e2e.browser.site import People, violations, width_beyond_the_window

pytestmark = pytest.mark.browser

PAGES = (
    "",
    "jobledger/run/",
    "jobledger/job/",
    "jobledger/job/choosing/",
    "jobledger/job/choosing/run/",
    "jobledger/run/?status=broken&from=soon",
    "django_celery_beat/periodictask/",
    "django_celery_beat/periodictask/pause_service/",
    "everything/",
)


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_accessible_and_without_errors(people: People, path: str, scheme: str) -> None:
    page = people.open(path, scheme=scheme)
    assert violations(page) == []


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone(people: People, path: str) -> None:
    page = people.open(path, width=390)
    assert width_beyond_the_window(page) == 0


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
