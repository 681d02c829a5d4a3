"""A row of the list says what, why, by whom and when; the pages know their neighbours."""

from datetime import timedelta

import pytest
from django.http import QueryDict
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin import display
from jobledger.admin.runs import search
from jobledger.admin.runs.listing import RunList, run_list
from jobledger.models import Run, Status, Trigger
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import made

pytestmark = pytest.mark.django_db


def listed(query: str = "") -> RunList:
    return run_list(QueryDict(query.removeprefix("?")), NOON + timedelta(hours=1))


def runs_of(found: RunList) -> list[Run]:
    return [row.run for row in found.rows]


def test_a_row_says_why_and_by_whom() -> None:
    made(status=Status.FAILED, error="no luck\nat all", trigger=Trigger.ADMIN, who="anna")
    (row,) = listed().rows
    assert (row.why, row.started_by) == ("no luck", "anna on the web")


def test_a_row_has_exact_moments_with_their_zone_and_how_far_away_they_are() -> None:
    made(started_at=NOON, finished_at=NOON + timedelta(seconds=83))
    (row,) = listed().rows
    assert ("1 h ago" in row.queued, row.queued_exactly) == (True, "2026-03-01 12:00:00 UTC")
    assert ("1 h ago" in row.started, row.started_exactly) == (True, "2026-03-01 12:00:00 UTC")
    assert row.took == "1 min 23 s"


def test_a_run_that_has_not_started_took_nothing() -> None:
    made(status=Status.MISSED)
    (row,) = listed().rows
    assert (row.started_exactly, row.took) == ("", "")


def test_a_long_explanation_is_cut() -> None:
    made(status=Status.FAILED, error="x" * 1000)
    (row,) = listed().rows
    assert len(row.why) == 160


def test_a_secret_is_in_no_row() -> None:
    made(
        job="talking",
        status=Status.FAILED,
        error="bad key sesame-street",
        options={"api_key": "sesame-street"},
    )
    assert "sesame" not in listed().rows[0].why


def test_pages_lead_back_and_forth_and_keep_the_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 2)
    runs = [made(number) for number in range(4)][::-1]
    made(9, job="other")
    first = listed("job=probe&status=")
    assert (runs_of(first), first.newer_url) == (runs[:2], "")
    second = listed(first.older_url)
    assert (runs_of(second), second.older_url, second.newest_url) == (runs[2:], "", "?job=probe")
    assert runs_of(listed(second.newer_url)) == runs[:2]


def test_a_page_that_makes_no_sense_is_the_first() -> None:
    run = made()
    assert runs_of(listed("before=yesterday")) == [run]


def test_a_page_of_the_list_is_one_query(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    times = {"started_at": NOON, "finished_at": NOON + timedelta(seconds=83)}
    for number in range(5):
        made(number, status=Status.FAILED, error="no", who="anna", **times)
    with django_assert_num_queries(1):
        rows = listed("status=failed").rows
        told = [(row.why, row.started_by, row.mark, row.took) for row in rows]
    assert told == [("no", "anna on the command line", display.status_mark("failed"), "1 min 23 s")] * 5
