"""Runs are found newest first, page after page, without looking at more of them than is allowed."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.runs import search
from jobledger.admin.runs.search import Cursor, LedgerPosition, ResultPage, RunQuery, find_page
from jobledger.models import Run, Status, Trigger
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import made, schedule

pytestmark = pytest.mark.django_db


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 3)


def pages(query: RunQuery, cursor: Cursor | None = None) -> Iterator[ResultPage]:
    """This page and all that are older."""
    page = find_page(query, cursor)
    yield page
    if page.older:
        yield from pages(query, page.older)


def found(query: RunQuery) -> list[Run]:
    return [run for page in pages(query) for run in page.runs]


def found_upwards(query: RunQuery) -> list[Run]:
    """From the oldest on."""
    begin = LedgerPosition(queued_at=NOON - timedelta(days=1), run_id=UUID(int=0))
    cursor: Cursor | None = Cursor(position=begin, to_newer=True)
    runs: list[Run] = []
    while cursor:
        page = find_page(query, cursor)
        runs += page.runs[::-1]
        cursor = page.newer
    return runs


def test_the_newest_come_first() -> None:
    old, new = made(0), made(1)
    assert find_page(RunQuery()).runs == [new, old]


@pytest.mark.usefixtures("small_pages")
def test_the_pages_together_are_all_runs_once_also_of_one_moment() -> None:
    runs = [made(number // 4) for number in range(11)]
    assert found(RunQuery()) == sorted(runs, key=lambda run: (run.queued_at, run.pk), reverse=True)


@pytest.mark.usefixtures("small_pages")
def test_newer_leads_back_to_where_one_came_from() -> None:
    for number in range(8):
        made(number)
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
    "many jobs": lambda: RunQuery(jobs=(*(f"job{number}" for number in range(20)), "other")),
    "no job": lambda: RunQuery(jobs=()),
}


@pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("most", [2, 4, 1000])
@pytest.mark.usefixtures("small_pages")
def test_what_is_found_is_what_passes_each_filter(
    make: Callable[[], RunQuery], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED", most)
    for number in range(40):
        made(
            number,
            status=(Status.FAILED, Status.LOST, Status.SUCCEEDED)[number % 3],
            job="other" if number % 5 < 2 else "probe",
            trigger=Trigger.ADMIN if number % 2 else Trigger.CLI,
        )
    query = make()
    wanted = [run for run in Run.objects.newest_first() if passes(run, query)]
    assert found(query) == wanted
    assert found_upwards(query) == wanted[::-1]


def passes(run: Run, query: RunQuery) -> bool:
    values = {"status": run.status, "job": run.job, "trigger": run.trigger}
    is_chosen = all(values[column] in chosen for column, chosen in query.filters.items())
    in_time = (query.since is None or run.queued_at >= query.since) and (
        query.until is None or run.queued_at < query.until
    )
    return is_chosen and in_time


def test_a_schedules_runs_are_found_by_it() -> None:
    nightly = schedule("nightly")
    run = made(schedule=nightly)
    made()
    assert found(RunQuery(schedule_ids=(nightly.pk,))) == [run]
    assert found(RunQuery(schedule_ids=(nightly.pk,), statuses=(Status.LOST,))) == []


@pytest.mark.usefixtures("small_pages")
def test_a_search_that_finds_little_ends_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED", 4)
    rare = made(0, status=Status.FAILED, trigger=Trigger.ADMIN)
    for number in range(1, 11):
        made(number, status=Status.FAILED)
        made(number, trigger=Trigger.ADMIN)
    query = RunQuery(statuses=(Status.FAILED,), triggers=(Trigger.ADMIN,))
    page = find_page(query)
    assert (page.runs, page.searched_until) == ([], NOON + timedelta(minutes=6))
    assert found(query) == [rare]


def test_the_filter_that_reaches_furthest_back_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_SEARCHED", 4)
    rare = made(0, status=Status.LOST, trigger=Trigger.ADMIN)
    for number in range(1, 11):
        made(number, trigger=Trigger.ADMIN)
    page = find_page(RunQuery(triggers=(Trigger.ADMIN,), statuses=(Status.LOST,)))
    assert (page.runs, page.searched_until) == ([rare], None)


def test_one_filter_needs_one_query_and_several_a_few(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    made()
    with django_assert_max_num_queries(1):
        find_page(RunQuery(jobs=("probe",)))
    with django_assert_max_num_queries(3):
        find_page(RunQuery(jobs=("probe",), statuses=(Status.FAILED,)))


def test_runs_are_found_by_their_ids() -> None:
    run = made()
    made()
    assert found(RunQuery(ids=(run.pk,))) == [run]


def test_a_position_can_be_written_and_read() -> None:
    position = LedgerPosition.of(made(0.001))
    assert LedgerPosition.read(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "x", "20260301T120000.000000Z-xyz", "20269901T120000.000000Z-" + "0" * 32]
)
def test_a_position_that_makes_no_sense_is_none(text: str) -> None:
    assert LedgerPosition.read(text) is None
