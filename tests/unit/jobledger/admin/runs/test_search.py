"""Runs are found newest first, page after page, without looking at more of them than is allowed."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries

from jobledger.admin.runs import search
from jobledger.admin.runs.search import Asked, Cursor, Page, Position, look
from jobledger.models import Run, Status, Trigger
from tests.unit.builders import NOON
from tests.unit.jobledger.admin.runs.ledger import made, schedule

pytestmark = pytest.mark.django_db


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PAGE_SIZE", 3)


def pages(asked: Asked, cursor: Cursor | None = None) -> Iterator[Page]:
    """This page and all that are older."""
    page = look(asked, cursor)
    yield page
    if page.older:
        yield from pages(asked, page.older)


def found(asked: Asked) -> list[Run]:
    return [run for page in pages(asked) for run in page.runs]


def found_upwards(asked: Asked) -> list[Run]:
    """From the oldest on."""
    begin = Position(queued_at=NOON - timedelta(days=1), run_id=UUID(int=0))
    cursor: Cursor | None = Cursor(position=begin, to_newer=True)
    runs: list[Run] = []
    while cursor:
        page = look(asked, cursor)
        runs += page.runs[::-1]
        cursor = page.newer
    return runs


def test_the_newest_come_first() -> None:
    old, new = made(0), made(1)
    assert look(Asked()).runs == [new, old]


@pytest.mark.usefixtures("small_pages")
def test_the_pages_together_are_all_runs_once_also_of_one_moment() -> None:
    runs = [made(number // 4) for number in range(11)]
    assert found(Asked()) == sorted(runs, key=lambda run: (run.queued_at, run.pk), reverse=True)


@pytest.mark.usefixtures("small_pages")
def test_newer_leads_back_to_where_one_came_from() -> None:
    for number in range(8):
        made(number)
    first, second, third = list(pages(Asked()))
    assert first.newer is None
    assert third.newer is not None
    back = look(Asked(), third.newer)
    assert back.runs == second.runs
    assert back.newer is not None
    assert back.older is not None
    assert look(Asked(), back.newer).runs == first.runs
    assert look(Asked(), back.older).runs == third.runs


FILTERS: dict[str, Callable[[], Asked]] = {
    "status": lambda: Asked(statuses=(Status.FAILED,)),
    "statuses": lambda: Asked(statuses=(Status.FAILED, Status.LOST)),
    "job": lambda: Asked(jobs=("other",)),
    "trigger": lambda: Asked(triggers=(Trigger.ADMIN,)),
    "since": lambda: Asked(since=NOON + timedelta(minutes=20)),
    "until": lambda: Asked(until=NOON + timedelta(minutes=20)),
    "two": lambda: Asked(statuses=(Status.FAILED,), jobs=("other",)),
    "three": lambda: Asked(
        statuses=(Status.FAILED, Status.LOST), jobs=("other", "probe"), triggers=(Trigger.ADMIN,)
    ),
    "many jobs": lambda: Asked(jobs=(*(f"job{number}" for number in range(20)), "other")),
    "no job": lambda: Asked(jobs=()),
}


@pytest.mark.parametrize("make", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("most", [2, 4, 1000])
@pytest.mark.usefixtures("small_pages")
def test_what_is_found_is_what_passes_each_filter(
    make: Callable[[], Asked], most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MOST_LOOKED_AT", most)
    for number in range(40):
        made(
            number,
            status=(Status.FAILED, Status.LOST, Status.SUCCEEDED)[number % 3],
            job="other" if number % 5 < 2 else "probe",
            trigger=Trigger.ADMIN if number % 2 else Trigger.CLI,
        )
    asked = make()
    wanted = [run for run in Run.objects.newest_first() if passes(run, asked)]
    assert found(asked) == wanted
    assert found_upwards(asked) == wanted[::-1]


def passes(run: Run, asked: Asked) -> bool:
    values = {"status": run.status, "job": run.job, "trigger": run.trigger}
    is_chosen = all(values[column] in chosen for column, chosen in asked.filters.items())
    in_time = (asked.since is None or run.queued_at >= asked.since) and (
        asked.until is None or run.queued_at < asked.until
    )
    return is_chosen and in_time


def test_a_schedules_runs_are_found_by_it() -> None:
    nightly = schedule("nightly")
    run = made(schedule=nightly)
    made()
    assert found(Asked(schedule_ids=(nightly.pk,))) == [run]
    assert found(Asked(schedule_ids=(nightly.pk,), statuses=(Status.LOST,))) == []


@pytest.mark.usefixtures("small_pages")
def test_a_search_that_finds_little_ends_and_says_how_far_it_came(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_LOOKED_AT", 4)
    rare = made(0, status=Status.FAILED, trigger=Trigger.ADMIN)
    for number in range(1, 11):
        made(number, status=Status.FAILED)
        made(number, trigger=Trigger.ADMIN)
    asked = Asked(statuses=(Status.FAILED,), triggers=(Trigger.ADMIN,))
    page = look(asked)
    assert (page.runs, page.looked_until) == ([], NOON + timedelta(minutes=6))
    assert found(asked) == [rare]


def test_the_filter_that_reaches_furthest_back_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_LOOKED_AT", 4)
    rare = made(0, status=Status.LOST, trigger=Trigger.ADMIN)
    for number in range(1, 11):
        made(number, trigger=Trigger.ADMIN)
    page = look(Asked(triggers=(Trigger.ADMIN,), statuses=(Status.LOST,)))
    assert (page.runs, page.looked_until) == ([rare], None)


def test_one_filter_needs_one_query_and_several_a_few(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    made()
    with django_assert_max_num_queries(1):
        look(Asked(jobs=("probe",)))
    with django_assert_max_num_queries(3):
        look(Asked(jobs=("probe",), statuses=(Status.FAILED,)))


def test_runs_are_found_by_their_ids() -> None:
    run = made()
    made()
    assert found(Asked(ids=(run.pk,))) == [run]


def test_a_position_can_be_written_and_read() -> None:
    position = Position.of(made(0.001))
    assert Position.read(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "x", "20260301T120000.000000Z-xyz", "20269901T120000.000000Z-" + "0" * 32]
)
def test_a_position_that_makes_no_sense_is_none(text: str) -> None:
    assert Position.read(text) is None
