"""The part of ``benchmarks.ledger.sizes`` that runs inside the service: what its ledger costs at its size."""

import json
import os
import sys
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import django

from benchmarks.pages.__main__ import PAGES

if TYPE_CHECKING:
    from benchmarks.ledger.costs import Costs

TICKS, REQUESTS = 100, 3
TENTH, THIRTIETH = 10, 30
"""Nothing is deleted of a ledger of which that would be more than a tenth."""
MORE_PAGES = (
    ("queued runs", "/admin/jobledger/run/?status=queued"),
    ("runs of beat", "/admin/jobledger/run/?trigger=schedule"),
    ("runs of the API, of which there are none", "/admin/jobledger/run/?trigger=api"),
)
TEXT = "1,204 tokens deleted (cutoff=2026-10-29)\n" * 5
_ADD_OUTPUT = """
INSERT INTO jobledger_runoutput (run_id, attempt, number, stream, text, written_at)
SELECT id, 1, 1000, 'stdout', %s, queued_at FROM jobledger_run ORDER BY queued_at LIMIT %s
"""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What something has cost, each time."""

    title: str
    wal_bytes: float
    pages: float
    cpu_ms: float


def main() -> None:
    """Print the figures as JSON: of what is read, of so many runs, and of deleting so many."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
    django.setup()
    from jobledger.runs.ledger_connection import ledger_connection

    count, deleted = map(int, sys.argv[1:])
    with ledger_connection():
        figures = [*_of_pages(), *_of_ticks(), *_of_runs(count), *_of_pruning(deleted)]
    json.dump([asdict(figure) for figure in figures], sys.stdout)


def _of_pages() -> list[Figure]:
    from django.contrib.auth import get_user_model
    from django.test import Client

    from benchmarks.ledger.costs import Costs
    from benchmarks.pages.times import names

    costs, client = Costs(), Client(headers={"host": "localhost"})
    client.force_login(get_user_model().objects.create_superuser("benchmark"))
    _skip_counting()
    known = names()
    # Metrics are counted by another thread.
    for title, path in (*(page for page in PAGES if page[0] != "metrics"), *MORE_PAGES):
        # The first request loads modules.
        _get(client, path.format(**known))
        with costs.step(title):
            for _ in range(REQUESTS):
                _get(client, path.format(**known))
    return _figures(costs, REQUESTS)


def _skip_counting() -> None:
    """As if all runs had been added to the totals, which takes long, but as long for each run."""
    from jobledger.models import CountedUntil, Run

    newest = Run.objects.newest_first()[0]
    values = {"queued_at": newest.queued_at, "run_id": newest.pk, "counted_at": newest.queued_at}
    CountedUntil.objects.update_or_create(pk=1, defaults=values)


def _get(client: Any, path: str) -> None:
    response = client.get(path)
    if response.status_code != 200:
        raise SystemExit(f"{path}: {response.status_code}")


def _of_ticks() -> list[Figure]:
    from benchmarks.ledger.costs import Costs
    from jobledger.models import NextSlot
    from jobledger.schedules.due import agenda

    costs = Costs()
    NextSlot.objects.update(due_at=None)
    with costs.step("a tick of beat with nothing due"):
        for _ in range(TICKS):
            agenda.read()
    return _figures(costs, TICKS)


def _of_runs(count: int) -> list[Figure]:
    from benchmarks.ledger import steps
    from benchmarks.ledger.costs import Costs

    alone, together = Costs(), Costs()
    steps.one_by_one(count, alone)
    steps.all_at_once(count, together)
    return [*_figures(alone, count, "a run: "), *_figures(together, count, f"{count} runs at once: ")]


def _of_pruning(count: int) -> list[Figure]:
    """Of deleting so many of the oldest runs, and as many again after a thirtieth of all, not vacuumed."""
    from benchmarks.ledger.costs import row
    from benchmarks.seed.population import analyze
    from jobledger.models import Run

    total = Run.objects.count()
    if total < count * TENTH:
        return []
    row(_ADD_OUTPUT, [TEXT, total // THIRTIETH + 2 * count])
    analyze()
    first = _prune("1,000 runs deleted", count)
    _prune("more", total // THIRTIETH)
    return [*first, *_prune("1,000 runs deleted, after a thirtieth of all", count)]


def _prune(title: str, count: int) -> list[Figure]:
    """Delete about so many of the oldest runs."""
    from benchmarks.ledger.costs import Costs
    from jobledger.conf import settings
    from jobledger.models import Run
    from jobledger.retention.batches import Deletion
    from jobledger.retention.pruning import Pruning

    oldest_kept = Run.objects.order_by("queued_at").values_list("queued_at", flat=True)[count]
    pruning, costs = Pruning(Deletion(), oldest_kept + timedelta(days=settings.KEEP_DAYS or 0)), Costs()
    with costs.step(title):
        deleted = sum(pruned.count for pruned in pruning.runs())
    return _figures(costs, max(deleted, 1) / 1000)


def _figures(costs: "Costs", count: float, prefix: str = "") -> list[Figure]:
    return [
        Figure(
            title=f"{prefix}{name}",
            wal_bytes=written / count,
            pages=costs.pages_of[name] / count,
            cpu_ms=costs.cpu_ms_of[name] / count,
        )
        for name, written in costs.bytes_of.items()
    ]


if __name__ == "__main__":
    main()
