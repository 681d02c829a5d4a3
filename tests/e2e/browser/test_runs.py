"""Runs in a browser: live updates, cancelling, running again, searching and downloading output."""

import uuid
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Page, expect

from tests.e2e.browser.site import People, violations, width_beyond_the_window
from tests.waiting import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.takes_long]

START = """
from jobledger.models import Trigger
from jobledger.runs import dispatch
request = dispatch.RunRequest(job={job!r}, options={options!r}, trigger=Trigger.ADMIN, username="the test")
print(dispatch.enqueue(request).pk)
"""
CREATE = """
from jobledger.models import Run, RunOutput
run = Run.objects.create(job={job!r}, trigger="cli", status={status!r}, error="no luck")
RunOutput.objects.create(run=run, number=0, stream="stdout", text={text!r})
print(run.pk)
"""


def start_run(people: People, job: str, **options: object) -> str:
    """Start a run, which a worker executes; returns its ID."""
    return people.site.service.shell(START.format(job=job, options=options))


def create_run(people: People, *, job: str, status: str = "failed", text: str = "") -> str:
    """Create a run that has ended, without executing it; returns its ID."""
    return people.site.service.shell(CREATE.format(job=job, status=status, text=text))


def path_of(run_id: str) -> str:
    return f"jobledger/run/{run_id}/change/"


def unique(name: str) -> str:
    return f"{name}_{uuid.uuid4().hex[:8]}"


def lines(page: Page) -> int:
    return page.locator("#output .line").count()


def test_a_running_jobs_output_and_end_appear_without_a_reload(people: People) -> None:
    go_on = people.site.service.folder / "talking goes on"
    run_id = start_run(people, "talking", lines=60, pause=0.2, until=str(go_on))
    page = people.open(path_of(run_id))
    page.evaluate("window.notReloaded = true")
    expect(page.locator("#output")).to_contain_text("line 3")
    expect(page.get_by_role("progressbar", name="Progress")).to_be_visible()
    seen = lines(page)
    go_on.touch()
    expect(page.locator("#output .line")).not_to_have_count(seen)
    expect(page.locator("#output")).to_contain_text("line 40")
    expect(page.locator(".line-error").first).to_have_text("warning at 4")
    expect(page.locator("#run-head")).to_contain_text("Succeeded in")
    expect(page.locator("#output")).to_contain_text("line 59")
    expect(page.get_by_role("button", name="Run again")).to_be_visible()
    expect(page.locator("#run-poll")).to_have_count(0)
    assert page.locator("#output .line", has_text="line 59").count() == 1
    assert page.evaluate("window.notReloaded") is True


def test_the_page_stays_at_the_end_or_where_the_user_scrolled_to(people: People) -> None:
    page = people.open(path_of(start_run(people, "talking", lines=1000, pause=0.1)))
    panel = page.locator("#output")
    expect(panel).to_contain_text("line 60")
    assert panel.evaluate("element => element.scrollHeight - element.scrollTop - element.clientHeight") < 24
    panel.hover()
    page.mouse.wheel(0, -2000)
    wait_until(lambda: panel.evaluate("element => element.scrollTop === 0"), what="it is scrolled up")
    expect(panel).to_contain_text("line 100")
    assert panel.evaluate("element => element.scrollTop") == 0
    page.get_by_role("button", name="Cancel this run").click()


def test_a_run_is_cancelled(people: People) -> None:
    page = people.open(path_of(start_run(people, "talking", lines=1000, pause=0.1)), role="operator")
    expect(page.locator("#output")).to_contain_text("line 2")
    page.get_by_role("button", name="Cancel this run").click()
    expect(page.get_by_text("The run will end within a few seconds.")).to_be_visible()
    expect(page.locator("#run-head")).to_contain_text("Cancelled after")
    expect(page.locator("#run-head")).to_contain_text("by operator")
    page.get_by_role("link", name="History").click()
    expect(page.get_by_text("Cancelled.")).to_be_visible()


def test_a_run_is_started_again_with_its_options(people: People) -> None:
    word = unique("again")
    page = people.open(path_of(start_run(people, "talking", lines=2, word=word)), role="operator")
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_text("Run started.")).to_be_visible()
    expect(page.locator("#run-about")).to_contain_text("operator on the web")
    expect(page.locator("#output")).to_contain_text(f"{word} 1")


def test_output_that_looks_like_a_script_is_shown(people: People) -> None:
    script = "<script>document.title = 'hacked'</script><img src=x onerror=alert(1)>"
    page = people.open(path_of(start_run(people, "talking", lines=20, pause=0.2, word=script)))
    expect(page.locator("#output .line").first).to_have_text(f"{script} 0")
    expect(page.locator("#output")).to_contain_text(f"{script} 12")
    page.goto(f"{page.url.partition('?')[0]}?find=%3Cscript")
    expect(page.locator("#output .line").first).to_contain_text(f"{script} 0")
    assert page.locator("#output img, #output script").count() == 0
    assert page.title() != "hacked"


def test_a_viewer_sees_it_but_has_no_actions(people: People) -> None:
    run_id = create_run(people, job=unique("seen"), text="hello\n")
    page = people.open(path_of(run_id), role="viewer")
    expect(page.locator("#output")).to_contain_text("hello")
    expect(page.get_by_role("button", name="Run again")).to_have_count(0)
    for name in "again", "cancel":
        answer = post(page, f"/admin/jobledger/run/{run_id}/{name}/")
        assert answer.status == 403
        # Not because of a missing CSRF token, which would not test the permission.
        assert "CSRF" not in answer.text()
    page.goto("/admin/jobledger/run/")
    expect(page.get_by_label("Selected runs")).to_have_count(0)


def test_users_with_permission_start_it_with_the_same_request(people: People) -> None:
    page = people.open(path_of(create_run(people, job="talking")), role="operator")
    answer = post(page, page.url.replace("/change/", "/again/").partition("?")[0])
    assert answer.status == 302


def post(page: Page, url: str) -> APIResponse:
    """The response to a form that is submitted to this URL."""
    token = page.locator("[name=csrfmiddlewaretoken]").first.input_value()
    return page.request.post(url, form={"csrfmiddlewaretoken": token}, max_redirects=0)


def test_the_list_is_filtered_by_status(people: People) -> None:
    job = unique("filtered")
    create_run(people, job=job, status="failed")
    create_run(people, job=job, status="lost")
    page = people.open(f"jobledger/run/?job={job}")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Status").select_option("lost")
    page.get_by_role("search").get_by_role("button", name="Apply").click()
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator("tbody tr")).to_contain_text("lost")
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url("**/admin/jobledger/run/")


def test_selected_runs_are_started_again(people: People) -> None:
    run_id = start_run(people, "talking", lines=1, word=unique("selected"))
    page = people.open(path_of(run_id), role="operator")
    expect(page.locator("#run-head")).to_contain_text("Succeeded")
    page.goto("/admin/jobledger/run/?job=talking")
    page.locator(f"input[value='{run_id}']").check()
    page.get_by_label("Selected runs").select_option("start_runs_again")
    page.locator("#runs").get_by_role("button", name="Apply").click()
    expect(page.get_by_text("Started 1 run.")).to_be_visible()


def test_the_output_is_searched_and_downloaded(people: People) -> None:
    text = "".join(f"number {number}\n" for number in range(100))
    page = people.open(path_of(create_run(people, job=unique("searched"), text=text)))
    page.get_by_label("Find in output").fill("NUMBER 42")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#output .line")).to_have_count(1)
    expect(page.locator("#output mark")).to_have_text("number 42")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_text() == text
    assert download.value.suggested_filename.endswith(".txt")


def test_everything_works_without_scripts(people: People) -> None:
    job = unique("plain")
    run_id = create_run(people, job=job, status="running", text="hello\n")
    page = people.open(path_of(run_id), javascript=False)
    expect(page.locator("#output")).to_contain_text("hello")
    page.get_by_role("link", name="Refresh").click()
    page.get_by_role("button", name="Cancel this run").click()
    expect(page.get_by_text("The run will end within a few seconds.")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_runs_page_is_accessible_and_fits_a_phone(people: People, scheme: str) -> None:
    colours = "".join(
        f"\x1b[{code}mcolour {code}\x1b[0m\n" for code in (*range(30, 38), *range(90, 108), 41, 7)
    )
    run_id = create_run(people, job=unique("looked_at"), text=colours)
    page = people.open(path_of(run_id), scheme=scheme, width=390)
    assert violations(page) == []
    assert width_beyond_the_window(page) == 0
