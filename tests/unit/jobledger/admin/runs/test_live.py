"""The page of a live run receives updates until the run has ended."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.runs.output import reader
from jobledger.models import Run, RunAttempt, RunOutput, Status, Stream
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run

pytestmark = pytest.mark.django_db


def write(run: Run, *texts: str, attempt: int = 1, stream: Stream = Stream.STDOUT) -> None:
    number = RunOutput.objects.filter(run=run, attempt=attempt).count()
    RunOutput.objects.bulk_create(
        RunOutput(run=run, attempt=attempt, number=each, stream=stream, text=text)
        for each, text in enumerate(texts, start=number)
    )


def page_of(client: Client, run: Run, **query: str) -> str:
    return client.get(reverse("admin:jobledger_run_change", args=[run.pk]), query).text


def next_url(html: str) -> str:
    found = re.search(r'hx-get="([^"]+)"', html)
    return found[1].replace("&amp;", "&") if found else ""


def poll(client: Client, url: str) -> Any:
    return client.get(url, headers={"HX-Request": "true"})


def lines_in(html: str) -> list[str]:
    return [
        re.sub("<[^>]+>", "", line)
        for line in re.findall(r'<div class="line(?: line-error)?">(.*?)</div>', html)
    ]


def test_a_running_run_is_followed_to_its_end(admin_client: Client) -> None:
    run = create_run(status=Status.RUNNING, started_at=NOON)
    write(run, "one\ntw")
    page = page_of(admin_client, run)
    assert lines_in(page) == ["one", "tw"]
    write(run, "o\n")
    response = poll(admin_client, next_url(page))
    assert (response.status_code, lines_in(response.text)) == (200, ["two"])
    assert 'hx-swap-oob="beforeend:#output-lines"' in response.text
    assert '<div id="open-line" hx-swap-oob="true"></div>' in response.text
    write(run, "three\n")
    Run.objects.filter(pk=run.pk).update(status=Status.SUCCEEDED, finished_at=NOON)
    last = poll(admin_client, next_url(response.text))
    assert (last.status_code, lines_in(last.text), next_url(last.text)) == (286, ["three"], "")


def test_the_page_stops_announcing_new_lines_when_the_run_has_ended(admin_client: Client) -> None:
    run = create_run(status=Status.RUNNING, started_at=NOON)
    page = page_of(admin_client, run)
    assert '<span id="output-follows">New lines appear as they are written.</span>' in page
    emptied = '<span id="output-follows" hx-swap-oob="true"></span>'
    assert emptied not in poll(admin_client, next_url(page)).text
    Run.objects.filter(pk=run.pk).update(status=Status.SUCCEEDED, finished_at=NOON)
    assert emptied in poll(admin_client, next_url(page)).text
    assert "New lines appear" not in page_of(admin_client, run)


def test_buttons_are_sent_only_if_the_state_has_changed(admin_client: Client) -> None:
    run = create_run(status=Status.RUNNING, started_at=NOON, progress_done=1, progress_total=4)
    url = next_url(page_of(admin_client, run))
    same = poll(admin_client, url).text
    assert all(part in same for part in ('id="run-head"', 'id="run-times"', 'value="1" max="4"'))
    assert 'id="run-actions"' not in same
    Run.objects.filter(pk=run.pk).update(status=Status.FAILED, traceback="line 1\nline 2")
    changed = poll(admin_client, url).text
    assert all(part in changed for part in ('id="run-actions"', "Run again", "line 1\nline 2"))


def test_child_runs_are_sent_only_if_they_have_changed(admin_client: Client) -> None:
    run = create_run(status=Status.RUNNING, started_at=NOON)
    page = page_of(admin_client, run)
    assert "Child runs" not in page
    child = create_run(parent=run, status=Status.RUNNING)
    began = poll(admin_client, next_url(page)).text
    assert all(part in began for part in ('<div id="run-children" hx-swap-oob="true">', str(child)))
    assert 'id="run-actions"' not in began
    same = poll(admin_client, next_url(began)).text
    assert 'id="run-children"' not in same
    Run.objects.filter(pk=child.pk).update(status=Status.SUCCEEDED)
    ended = poll(admin_client, next_url(same)).text
    assert 'id="run-children"' in ended
    assert "#succeeded" in ended


def test_a_run_that_has_ended_is_not_polled(admin_client: Client) -> None:
    assert next_url(page_of(admin_client, create_run())) == ""


def test_polling_continues_until_all_output_has_been_sent(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(status=Status.RUNNING)
    url = next_url(page_of(admin_client, run))
    write(run, "1\n", "2\n", "3\n")
    Run.objects.filter(pk=run.pk).update(status=Status.SUCCEEDED)
    monkeypatch.setattr(reader, "MAX_ROWS", 2)
    first = poll(admin_client, url)
    assert (first.status_code, lines_in(first.text)) == (200, ["1", "2"])
    second = poll(admin_client, next_url(first.text))
    assert (second.status_code, lines_in(second.text)) == (286, ["3"])


def test_the_next_attempt_is_followed_too(admin_client: Client) -> None:
    run = create_run(status=Status.QUEUED, attempt=2)
    write(run, "first\n")
    page = page_of(admin_client, run)
    assert lines_in(page) == ["first"]
    write(run, "second\n", attempt=2)
    text = poll(admin_client, next_url(page)).text
    assert lines_in(text) == ["second"]
    assert '<div class="line-attempt">attempt 2</div>' in text


def test_an_earlier_attempt_is_shown_but_not_followed(admin_client: Client) -> None:
    run = create_run(status=Status.RUNNING, attempt=2)
    write(run, "first\n")
    page = page_of(admin_client, run, attempt="1")
    assert lines_in(page) == ["first"]
    assert "at=" not in next_url(page)


def test_output_is_not_followed_during_a_search(admin_client: Client) -> None:
    run = create_run(status=Status.RUNNING)
    write(run, "one\ntwo\n")
    page = page_of(admin_client, run, find="TW")
    assert "<mark>tw</mark>o" in page
    assert lines_in(page) == ["2two"]
    write(run, "two\n")
    assert lines_in(poll(admin_client, next_url(page)).text) == []


def test_output_is_escaped_even_if_it_is_new_or_matches_a_search(admin_client: Client) -> None:
    run = create_run(
        status=Status.RUNNING, options={"x": "<script>alert(4)</script>"}, error="<script>alert(5)</script>"
    )
    page = page_of(admin_client, run)
    write(run, "<script>alert(1)</script>\n<script>alert(2)</script>")
    update = poll(admin_client, next_url(page)).text
    for html in (page, update, page_of(admin_client, run), page_of(admin_client, run, find="<script>")):
        assert "<script>alert" not in html
    assert lines_in(update) == [f"&lt;script&gt;alert({number})&lt;/script&gt;" for number in (1, 2)]


def test_stderr_is_marked(admin_client: Client) -> None:
    run = create_run()
    write(run, "out\n")
    write(run, "err\n", stream=Stream.STDERR)
    page = page_of(admin_client, run)
    assert '<div class="line">out</div><div class="line line-error">err</div>' in page


@pytest.mark.parametrize("query", ["", "at=nonsense", "at=1.99.7..&was=x", "at=999999999.0.0.."])
def test_an_invalid_position_is_ignored(admin_client: Client, query: str) -> None:
    run = create_run(status=Status.RUNNING)
    write(run, "one\n")
    url = reverse("admin:jobledger_run_live", args=[run.pk])
    assert poll(admin_client, f"{url}?{query}").status_code == 200


def test_a_logged_out_user_is_sent_to_the_login_page(client: Client) -> None:
    response = poll(client, reverse("admin:jobledger_run_live", args=[create_run().pk]))
    assert (response.status_code, response.content, response.headers["HX-Refresh"]) == (286, b"", "true")


def test_the_number_of_queries_does_not_depend_on_the_output(
    admin_client: Client, admin_user: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    small = create_run()
    large = create_run(status=Status.RUNNING, attempt=20, parent=small)
    for attempt in range(1, 20):
        RunAttempt.objects.create(run=large, attempt=attempt, status=Status.LOST, finished_at=NOON)
        create_run(attempt, parent=large)
    write(large, *["x" * 60_000 + "\n"] * 17, attempt=20)
    for run in (small, large):
        # Two are the session and the user; three are the output's, and one the alerts'.
        with django_assert_max_num_queries(9):
            url = next_url(page_of(admin_client, run))
    asked = dict(parse_qsl(urlsplit(url).query))
    assert set(asked) == {"at", "children", "state"}
    with django_assert_max_num_queries(5):
        poll(admin_client, url)
