"""The rows of the list, and its pagination."""

from datetime import timedelta

import pytest
from django.http import QueryDict
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin import display
from jobledger.admin.runs import search
from jobledger.admin.runs.listing import RunList, run_list
from jobledger.models import Run, Status, Trigger
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run

pytestmark = pytest.mark.django_db


def list_runs(query: str = "") -> RunList:
    return run_list(QueryDict(query.removeprefix("?")), NOON + timedelta(hours=1))


def runs_of(found: RunList) -> list[Run]:
    return [row.run for row in found.rows]


def test_a_row_has_the_reason_and_the_user() -> None:
    create_run(status=Status.FAILED, error="no luck\nat all", trigger=Trigger.ADMIN, username="anna")
    (row,) = list_runs().rows
    assert (row.why, row.started_by) == ("no luck", "anna on the web")


def test_a_row_has_exact_and_relative_times() -> None:
    create_run(started_at=NOON, finished_at=NOON + timedelta(seconds=83))
    (row,) = list_runs().rows
    assert ("1 h ago" in row.queued, row.queued_exactly) == (True, "2026-03-01 12:00:00 UTC")
    assert ("1 h ago" in row.started, row.started_exactly) == (True, "2026-03-01 12:00:00 UTC")
    assert row.took == "1 min 23 s"


def test_a_run_that_has_not_started_has_no_duration() -> None:
    create_run(status=Status.MISSED)
    (row,) = list_runs().rows
    assert (row.started_exactly, row.took) == ("", "")


def test_a_long_reason_is_truncated() -> None:
    create_run(status=Status.FAILED, error="x" * 1000)
    (row,) = list_runs().rows
    assert len(row.why) == 160


def test_rows_do_not_contain_secrets() -> None:
    create_run(
        job="talking",
        status=Status.FAILED,
        error="bad key sesame-street",
        options={"api_key": "sesame-street"},
    )
    assert "sesame" not in list_runs().rows[0].why


def test_pages_link_to_each_other_and_keep_the_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 2)
    runs = [create_run(number) for number in range(4)][::-1]
    create_run(9, job="other")
    first = list_runs("job=probe&status=")
    assert (runs_of(first), first.newer_url) == (runs[:2], "")
    second = list_runs(first.older_url)
    assert (runs_of(second), second.older_url, second.newest_url) == (runs[2:], "", "?job=probe")
    assert runs_of(list_runs(second.newer_url)) == runs[:2]


def test_an_invalid_cursor_shows_the_first_page() -> None:
    run = create_run()
    assert runs_of(list_runs("before=yesterday")) == [run]


def test_a_page_takes_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    times = {"started_at": NOON, "finished_at": NOON + timedelta(seconds=83)}
    for number in range(5):
        create_run(number, status=Status.FAILED, error="no", username="anna", **times)
    with django_assert_num_queries(1):
        rows = list_runs("status=failed").rows
        cells = [(row.why, row.started_by, row.mark, row.took) for row in rows]
    assert cells == [("no", "anna on the command line", display.status_mark("failed"), "1 min 23 s")] * 5
