"""What runs on PostgreSQL as well is found by what a test's module writes, and by what its file mentions."""

from pathlib import Path

import pytest

from tests.databases import (
    MENTIONED,
    MORE_THAN_PLAIN,
    UNIT_TESTS,
    concerns_databases,
    is_for_one_database,
    sources_of,
)


@pytest.mark.parametrize(
    "line",
    [
        "runs.filter(Q(job=job) | Q(job=''))",
        'runs.update(attempt=F("attempt") + 1)',
        "runs.annotate(count=number)",
        "runs.select_for_update(skip_locked=True)",
        "Run.objects.bulk_create(runs)",
        "with transaction.atomic():",
        "runs.filter(job__icontains=text)",
        "with connection.cursor() as cursor:",
        "for run in runs.iterator():",
    ],
)
def test_a_database_can_change_more_than_plain_lookups(line: str) -> None:
    assert MORE_THAN_PLAIN.search(line)


@pytest.mark.parametrize(
    "line", ["runs.filter(job=job).order_by('pk')", "run.save()", "IF(1)", "Run.objects.create()"]
)
def test_what_the_orm_does_with_plain_lookups_is_the_same_everywhere(line: str) -> None:
    assert not MORE_THAN_PLAIN.search(line)


@pytest.mark.parametrize(
    "line", ["# only on PostgreSQL", "raise DataError", r'name="a\x00"', "connection.vendor"]
)
def test_a_file_that_mentions_what_only_a_database_does_is_tested_on_every_one(line: str) -> None:
    assert MENTIONED.search(line)


def test_counting_statements_is_nothing_that_only_one_database_does() -> None:
    assert not MENTIONED.search("with CaptureQueriesContext(connection): pass")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("jobledger/admin/runs/test_search.py", "jobledger/admin/runs/search.py"),
        ("jobledger/admin/runs/test_listing_filters.py", "jobledger/admin/runs/listing.py"),
        ("jobledger/schedules/due/test_backlog_properties.py", "jobledger/schedules/due/backlog.py"),
    ],
)
def test_a_file_tests_the_module_with_whose_name_it_begins(file: str, expected: str) -> None:
    assert [source.relative_to(UNIT_TESTS.parent.parent).as_posix() for source in sources_of(Path(file))] == [
        expected
    ]


def test_of_a_package_every_module_counts() -> None:
    names = {source.name for source in sources_of(Path("jobledger/schedules/test_adoption.py"))}
    assert {"__init__.py", "giving_back.py"} <= names


@pytest.mark.parametrize(
    "module", ["jobledger/schedules/due/test_ledger.py", "jobledger/test_outages.py", "test_databases.py"]
)
def test_locks_errors_and_what_has_no_module_are_tested_on_every_database(module: str) -> None:
    assert concerns_databases(UNIT_TESTS / module)


def test_a_page_without_sql_of_its_own_is_tested_on_one_database() -> None:
    assert not concerns_databases(UNIT_TESTS / "jobledger/admin/tokens/test_pages.py")


def test_a_file_that_is_not_imported_has_no_test_for_every_database(request: pytest.FixtureRequest) -> None:
    """Of all files that have been collected now."""
    left_out = [item for item in request.session.items if is_for_one_database(item.path)]
    marks = [{mark.name for mark in item.iter_markers()} for item in left_out]
    assert [item.nodeid for item, names in zip(left_out, marks, strict=True) if runs_everywhere(names)] == []


def runs_everywhere(marks: set[str]) -> bool:
    """As the Makefile says it."""
    return ("django_db" in marks and "one_database" not in marks) or "every_database" in marks


def test_a_file_is_left_out_if_no_database_can_change_what_it_tests() -> None:
    assert is_for_one_database(UNIT_TESTS / "jobledger" / "schedules" / "rules" / "test_slots.py")
    assert is_for_one_database(UNIT_TESTS / "jobledger/schedules/due/test_backlog_properties.py")
    assert not is_for_one_database(UNIT_TESTS / "jobledger" / "runs" / "test_overlap.py")
    assert not is_for_one_database(UNIT_TESTS / "conftest.py")
