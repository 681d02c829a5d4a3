"""The size of the ledger is known without counting all rows."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobledger.models import Status
from jobledger.retention import ledger_size
from jobledger.retention.ledger_size import LedgerSize
from tests.unit.jobledger.retention.builders import ended, write_output

pytestmark = pytest.mark.django_db


def test_a_small_ledger_is_counted() -> None:
    for _ in range(3):
        ended(1)
    found = ledger_size.read()
    assert (found.runs, found.is_exact) == (3, True)


def test_a_large_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_size, "MAX_COUNTED", 2)
    for _ in range(4):
        ended(1)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # As long as it was never analyzed, which autovacuum may have done.
            cursor.execute("UPDATE pg_class SET reltuples = -1 WHERE oid = 'jobledger_run'::regclass")
    with CaptureQueriesContext(connection) as queries:
        found = ledger_size.read()
    assert (found.runs, found.is_exact) == (2, False)
    assert "LIMIT 3" in queries[-1]["sql"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no estimate")
def test_postgresqls_estimate_is_used_for_a_large_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_size, "MAX_COUNTED", 2)
    for _ in range(4):
        ended(1)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE jobledger_run")
    monkeypatch.setattr(ledger_size, "round", lambda number, digits: number, raising=False)
    with CaptureQueriesContext(connection) as queries:
        found = ledger_size.read()
    assert (found.runs, found.is_exact, len(queries)) == (4, False, 1)


def test_the_size_includes_output() -> None:
    run = ended(1)
    before = ledger_size.read().size_bytes
    write_output(run, *(f"{number:0>64000}" for number in range(50)))
    assert ledger_size.read().size_bytes > before


@pytest.mark.parametrize(
    ("size", "text"),
    [
        ({"runs": 0, "is_exact": True}, "no runs"),
        ({"runs": 1, "is_exact": True}, "1 run"),
        ({"runs": 1200, "is_exact": True}, "1,200 runs"),
        ({"runs": 1_000_000, "is_exact": False}, "about 1,000,000 runs"),
        ({"runs": ledger_size.MAX_COUNTED, "is_exact": False}, "more than 100,000 runs"),
    ],
)
def test_it_says_whether_the_number_is_exact(size: dict[str, Any], text: str) -> None:
    assert str(LedgerSize(size_bytes=0, **size)) == text


def test_a_dry_run_prunes_nothing() -> None:
    pruned = ended(3, job="prune_runs")
    ended(2, job="prune_runs", options={"dry_run": True})
    ended(1, job="prune_runs", status=Status.FAILED)
    assert ledger_size.last_pruned() == pruned.finished_at


def test_it_was_never_pruned_at_first() -> None:
    assert ledger_size.last_pruned() is None
    assert ledger_size.oldest_run() is None
    oldest = ended(9)
    ended(1)
    assert ledger_size.oldest_run() == oldest.queued_at
    assert timezone.now() - oldest.queued_at > timedelta(days=8)
