"""Runs are found newest first, page by page, with a bounded number of scanned runs."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.runs import search
from jobledger.admin.runs.search import Cursor, LedgerPosition, ResultPage, RunQuery, find_page
from jobledger.models import Run, Status, Trigger
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import create_run, schedule

pytestmark = pytest.mark.django_db


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 3)


def pages(query: RunQuery, cursor: Cursor | None = None) -> Iterator[ResultPage]:
    """This page and all older ones."""
    page = find_page(query, cursor)
    yield page
    if page.older:
        yield from pages(query, page.older)


def find_all(query: RunQuery) -> list[Run]:
    return [run for page in pages(query) for run in page.runs]


def find_all_oldest_first(query: RunQuery) -> list[Run]:
    begin = LedgerPosition(queued_at=NOON - timedelta(days=1), run_id=UUID(int=0))
    cursor: Cursor | None = Cursor(position=begin, to_newer=True)
    runs: list[Run] = []
    while cursor:
        page = find_page(query, cursor)
        runs += page.runs[::-1]
        cursor = page.newer
    return runs


def test_the_newest_come_first() -> None:
    old, new = create_run(0), create_run(1)
    assert find_page(RunQuery()).runs == [new, old]


@pytest.mark.usefixtures("small_pages")
def test_pages_include_every_run_once_even_if_queued_at_the_same_time() -> None:
    runs = [create_run(number // 4) for number in range(11)]
    assert find_all(RunQuery()) == sorted(runs, key=lambda run: (run.queued_at, run.pk), reverse=True)


@pytest.mark.usefixtures("small_pages")
def test_the_newer_cursor_leads_back_to_the_previous_page() -> None:
    for number in range(8):
        create_run(number)
    first, second, third = list(pages(RunQuery()))
    assert first.newer is None
    assert third.newer is not None
    back = find_page(RunQuery(), third.newer)
    assert back.runs == second.runs
    assert back.newer is not None
    assert back.older is not None
    assert find_page(RunQuery(), back.newer).runs == first.runs
    assert find_page(RunQuery(), back.older).runs == third.runs


FILTERS: dict[str, Callable[[], RunQuery]] = {
    "status": lambda: RunQuery(statuses=(Status.FAILED,)),
    "statuses": lambda: RunQuery(statuses=(Status.FAILED, Status.LOST)),
    "job": lambda: RunQuery(jobs=("other",)),
    "trigger": lambda: RunQuery(triggers=(Trigger.ADMIN,)),
    "since": lambda: RunQuery(since=NOON + timedelta(minutes=20)),
    "until": lambda: RunQuery(until=NOON + timedelta(minutes=20)),
    "two": lambda: RunQuery(statuses=(Status.FAILED,), jobs=("other",)),
    "three": lambda: RunQuery(
        statuses=(Status.FAILED, Status.LOST), jobs=("other", "probe"), triggers=(Trigger.ADMIN,)
    ),
    "common status": lambda: RunQuery(statuses=(Status.SUCCEEDED,)),
    "common trigger": lambda: RunQuery(triggers=(Trigger.SCHEDULE,)),
    "common and other": lambda: RunQuery(statuses=(Status.SUCCEEDED, Status.LOST), triggers=(Trigger.ADMIN,)),
    "many jobs": lambda: RunQuery(jobs=(*(f"job{number}" for number in range(20)), "other")),
    "no job": lambda: RunQuery(jobs=()),
}


@pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("max_searched", [2, 4, 1000])
@pytest.mark.usefixtures("small_pages")
def test_the_runs_that_match_all_filters_are_found(
    make: Callable[[], RunQuery], max_searched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED", max_searched)
    for number in range(40):
        create_run(
            number,
            status=(Status.FAILED, Status.LOST, Status.SUCCEEDED)[number % 3],
            job="other" if number % 5 < 2 else "probe",
            trigger=(Trigger.ADMIN, Trigger.CLI, Trigger.SCHEDULE)[number % 7 % 3],
        )
    query = make()
    expected = [run for run in Run.objects.newest_first() if matches(run, query)]
    assert find_all(query) == expected
    assert find_all_oldest_first(query) == expected[::-1]


def matches(run: Run, query: RunQuery) -> bool:
    values = {"status": run.status, "job": run.job, "trigger": run.trigger}
    matches_filters = all(values[column] in allowed for column, allowed in query.filters.items())
    in_time = (query.since is None or run.queued_at >= query.since) and (
        query.until is None or run.queued_at < query.until
    )
    return matches_filters and in_time


def test_runs_are_found_by_their_schedule() -> None:
    nightly = schedule("nightly")
    run = create_run(schedule=nightly)
    create_run()
    assert find_all(RunQuery(schedule_ids=(nightly.pk,))) == [run]
    assert find_all(RunQuery(schedule_ids=(nightly.pk,), statuses=(Status.LOST,))) == []


@pytest.mark.usefixtures("small_pages")
def test_a_search_with_few_matches_stops_and_reports_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED", 4)
    rare = create_run(0, status=Status.FAILED, trigger=Trigger.ADMIN)
    for number in range(1, 11):
        create_run(number, status=Status.FAILED)
        create_run(number, trigger=Trigger.ADMIN)
    query = RunQuery(statuses=(Status.FAILED,), triggers=(Trigger.ADMIN,))
    page = find_page(query)
    assert (page.runs, page.searched_until) == ([], NOON + timedelta(minutes=6))
    assert find_all(query) == [rare]


def test_the_filter_that_reaches_furthest_back_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED", 4)
    rare = create_run(0, status=Status.LOST, trigger=Trigger.ADMIN)
    for number in range(1, 11):
        create_run(number, trigger=Trigger.ADMIN)
    page = find_page(RunQuery(triggers=(Trigger.ADMIN,), statuses=(Status.LOST,)))
    assert (page.runs, page.searched_until) == ([rare], None)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite's indexes have all runs")
@pytest.mark.usefixtures("small_pages")
def test_a_filter_for_what_most_runs_have_in_common_looks_at_a_few_of_the_newest_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "FEW_SEARCHED", 4)
    monkeypatch.setattr(search, "MAX_SEARCHED", 8)
    for number in range(20):
        create_run(number, status=Status.LOST if 8 <= number < 16 else Status.SUCCEEDED)
    first, second, third, *_ = pages(RunQuery(statuses=(Status.SUCCEEDED,)))
    with CaptureQueriesContext(connection) as queries:
        assert find_page(RunQuery(statuses=(Status.SUCCEEDED,))) == first
    assert ([len(page.runs) for page in (first, second, third)], len(queries)) == ([3, 1, 3], 2)
    assert (first.searched_until, second.searched_until) == (None, NOON + timedelta(minutes=8))


def test_one_filter_needs_one_query_and_several_a_few(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    create_run()
    with django_assert_max_num_queries(1):
        find_page(RunQuery(jobs=("probe",)))
    with django_assert_max_num_queries(3):
        find_page(RunQuery(jobs=("probe",), statuses=(Status.FAILED,)))


def test_runs_are_found_by_their_ids() -> None:
    run = create_run()
    create_run()
    assert find_all(RunQuery(ids=(run.pk,))) == [run]


def test_a_position_can_be_formatted_and_parsed() -> None:
    position = LedgerPosition.of(create_run(0.001))
    assert LedgerPosition.read(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "x", "20260301T120000.000000Z-xyz", "20269901T120000.000000Z-" + "0" * 32]
)
def test_an_invalid_position_is_none(text: str) -> None:
    assert LedgerPosition.read(text) is None
