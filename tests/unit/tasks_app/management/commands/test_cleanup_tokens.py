"""``cleanup_tokens`` deletes old tokens in batches, and nothing else."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import accumulate

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from jobledger.models import Run, RunOutput
from tasks_app.management.commands import cleanup_tokens
from tasks_app.models import AuthToken
from tests.unit.builders import make_token, make_tokens, make_user, output_of, run_for_slot, utc

pytestmark = pytest.mark.django_db

NOW = utc(2026, 5, 31, 12)
LONG_AGO = NOW - timedelta(days=300)


@pytest.fixture(autouse=True)
def _noon() -> Iterator[None]:
    with time_machine.travel(NOW, tick=False):
        yield


def statements(*line: str, verb: str) -> list[str]:
    """The statements on tokens that start with the verb."""
    with CaptureQueriesContext(connection) as queries:
        output_of(*line)
    return [
        query["sql"]
        for query in queries.captured_queries
        if query["sql"].startswith(verb) and "tasks_app_authtoken" in query["sql"]
    ]


def test_it_deletes_what_is_older_than_thirty_days() -> None:
    make_tokens(2, NOW - timedelta(days=31))
    kept = make_token(NOW - timedelta(days=29))
    assert output_of("cleanup_tokens") == "Deleted 2 tokens (cutoff=2026-05-01)\n"
    assert AuthToken.objects.get() == kept


def test_the_cutoff_is_exclusive_and_a_token_of_that_very_time_is_kept() -> None:
    make_token(NOW - timedelta(days=7, microseconds=1))
    kept = make_token(NOW - timedelta(days=7))
    assert output_of("cleanup_tokens", "--days=7") == "Deleted 1 tokens (cutoff=2026-05-24)\n"
    assert AuthToken.objects.get() == kept


def test_the_dry_run_counts_and_deletes_nothing() -> None:
    make_token(NOW - timedelta(days=7, microseconds=1))
    make_token(NOW - timedelta(days=7))
    printed = output_of("cleanup_tokens", "--days=7", "--dry-run")
    assert printed == "[dry-run] 1 candidates for deletion\n"
    assert AuthToken.objects.count() == 2


def test_it_reports_if_there_is_nothing_to_delete() -> None:
    assert output_of("cleanup_tokens") == "Deleted 0 tokens (cutoff=2026-05-01)\n"


def test_the_cutoff_counts_from_the_slot() -> None:
    make_token(utc(2026, 4, 30))
    make_token(utc(2026, 5, 2))
    run = run_for_slot("cleanup_tokens", utc(2026, 5, 11, 3), days=10)
    assert RunOutput.objects.get(run=run).text == "Deleted 1 tokens (cutoff=2026-05-01)\n"


def test_the_cutoffs_day_is_one_of_the_projects_time_zone(settings: Settings) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    assert output_of("cleanup_tokens", "--days=1") == "Deleted 0 tokens (cutoff=2026-05-31)\n"


def make_old_tokens(count: int) -> None:
    """Tokens that were created one after the other."""
    user = make_user()
    for number in range(count):
        make_token(LONG_AGO + timedelta(seconds=number), user)


def test_each_batch_is_one_statement_that_loads_no_rows() -> None:
    make_old_tokens(7)
    # The fourth finds nothing.
    assert len(statements("cleanup_tokens", "--batch-size=3", verb="DELETE")) == 4
    assert not AuthToken.objects.exists()


def test_a_batch_has_a_single_limit_so_that_no_database_looks_at_the_batches_after_it() -> None:
    make_old_tokens(7)
    deleting = statements("cleanup_tokens", "--batch-size=3", verb="DELETE")
    assert [sql.count('"created_at" <') for sql in deleting] == [1, 1, 1, 1]


def test_only_the_time_at_which_the_next_batch_begins_is_selected() -> None:
    make_old_tokens(7)
    selected = statements("cleanup_tokens", "--batch-size=3", verb="SELECT")
    assert len(selected) == 4
    assert all(sql.startswith('SELECT "tasks_app_authtoken"."created_at"') for sql in selected)
    assert all("LIMIT 1 OFFSET 3" in sql for sql in selected)


def test_a_batch_is_never_larger_even_if_all_tokens_were_created_at_the_same_time() -> None:
    make_tokens(7, LONG_AGO)
    assert output_of("cleanup_tokens", "--batch-size=3", "--verbosity=2") == (
        "3 deleted so far\n6 deleted so far\n7 deleted so far\nDeleted 7 tokens (cutoff=2026-05-01)\n"
    )


def test_other_writers_get_their_turn_between_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("tasks_app.management.commands.cleanup_tokens.time.sleep", pauses.append)
    make_old_tokens(7)
    output_of("cleanup_tokens", "--batch-size=3")
    assert pauses == [cleanup_tokens.PAUSE_SECONDS] * 2


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [(3600.0, [2, 4, 8, 8, 1]), (-1.0, [2] + [1] * 21)],
    ids=["quick ones", "slow ones"],
)
def test_a_batch_is_larger_after_a_quick_one_up_to_the_limit_and_smaller_after_a_slow_one(
    seconds: float, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others wait for a transaction of SQLite, but each one costs something, too."""
    monkeypatch.setattr(cleanup_tokens, "TRANSACTION_SECONDS", seconds)
    monkeypatch.setattr(cleanup_tokens, "FIRST_BATCH", 2)
    monkeypatch.setattr(cleanup_tokens, "PAUSE_SECONDS", 0)
    make_old_tokens(23)
    printed = output_of("cleanup_tokens", "--batch-size=8", "--verbosity=2")
    totals = [int(line.split()[0]) for line in printed.splitlines()[:-1]]
    assert totals == list(accumulate(sizes))


def test_batches_are_reported_at_verbosity_2() -> None:
    make_tokens(3, LONG_AGO)
    assert output_of("cleanup_tokens", "--batch-size=2", "--verbosity=2") == (
        "2 deleted so far\n3 deleted so far\nDeleted 3 tokens (cutoff=2026-05-01)\n"
    )


def test_a_batch_is_found_through_the_index() -> None:
    make_tokens(2000, LONG_AGO)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    expired = AuthToken.objects.filter(created_at__lt=NOW).order_by("created_at")
    assert "token_by_created_at" in expired.values("pk")[:10].explain()


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("--days=-1", "argument --days: -1 is not between 0 and 36500"),
        ("--days=99999999", "argument --days: 99999999 is not between 0 and 36500"),
        ("--days=soon", "argument --days: 'soon' is not a whole number"),
        ("--batch-size=0", "argument --batch-size: 0 is not between 1 and 100000"),
        ("--batch-size=-5", "argument --batch-size: -5 is not between 1 and 100000"),
    ],
)
def test_an_absurd_value_is_rejected_and_nothing_is_deleted(argument: str, reason: str) -> None:
    make_token(LONG_AGO)
    with pytest.raises(CommandError, match=reason):
        call_command("cleanup_tokens", argument)
    assert AuthToken.objects.exists()
    assert not Run.objects.exists()


def test_the_maximum_age_can_be_computed() -> None:
    assert output_of("cleanup_tokens", "--days=36500") == "Deleted 0 tokens (cutoff=1926-06-25)\n"
