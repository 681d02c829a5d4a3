"""How large the ledger is, and when it was last pruned; cheap enough for every page view.

Nothing counts a million rows. PostgreSQL knows how many there were when the table was last analyzed; SQLite
knows no number of rows, so that they are counted up to a limit. How much space a table of SQLite takes could
only be found out by reading it, so it is the size of the whole file, without its unused pages.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db import connection

from jobledger.models import Run, Status

MAX_COUNTED = 100_000
PRUNING_JOB = "prune_runs"
MAX_LOOKED_AT = 20


@dataclass(frozen=True, kw_only=True)
class LedgerSize:
    """The number of runs, and the bytes that they and all other rows take in the database."""

    runs: int
    is_exact: bool
    size_bytes: int

    def __str__(self) -> str:
        return "no runs" if not self.runs else self._runs()

    def _runs(self) -> str:
        if self.is_exact:
            return f"{self.runs:,} run" + ("" if self.runs == 1 else "s")
        is_limit = self.runs == MAX_COUNTED
        return f"{'more than' if is_limit else 'about'} {self.runs:,} runs"


def read() -> LedgerSize:
    """The size of the ledger now, by a single query."""
    if connection.vendor != "postgresql":
        return _counted(*_first(_SQLITE, MAX_COUNTED + 1))
    count, size_bytes = _first(_POSTGRESQL, MAX_COUNTED, MAX_COUNTED + 1, _tables(), Run._meta.db_table)
    if count < 0:
        return LedgerSize(runs=round(-count, -3), is_exact=False, size_bytes=size_bytes)
    return _counted(count, size_bytes)


def last_pruned() -> datetime | None:
    """When a run of the pruning job last succeeded, other than a dry one."""
    succeeded = Run.objects.newest_of_job(PRUNING_JOB).that_ended(Status.SUCCEEDED)
    newest = succeeded.values_list("options", "finished_at")[:MAX_LOOKED_AT]
    return next((finished_at for options, finished_at in newest if not options.get("dry_run")), None)


def oldest_run() -> datetime | None:
    """When the oldest run was queued."""
    return Run.objects.order_by("queued_at").values_list("queued_at", flat=True).first()


def _counted(count: int, size_bytes: int) -> LedgerSize:
    runs = min(count, MAX_COUNTED)
    return LedgerSize(runs=runs, is_exact=count == runs, size_bytes=size_bytes)


def _tables() -> list[str]:
    return [model._meta.db_table for model in apps.get_app_config("jobledger").get_models()]


def _first(statement: str, *values: Any) -> tuple[int, int]:
    """By SQL, since the ORM has no function for this."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        count, size_bytes = cursor.fetchone()
    return int(count), int(size_bytes)


# The estimate is as of the last time that the table was vacuumed or analyzed, and -1 if it never was. It is
# negated to tell it from a number that was counted. The size is that of the tables with their indexes, and
# with long texts, which are stored apart.
_POSTGRESQL = """
SELECT
    CASE WHEN reltuples > %s THEN -reltuples
        ELSE (SELECT count(*) FROM (SELECT 1 FROM jobledger_run LIMIT %s) AS counted) END,
    (SELECT sum(pg_total_relation_size(name::regclass)) FROM unnest(%s::text[]) AS names(name))
FROM pg_class WHERE oid = %s::regclass
"""
_SQLITE = """
SELECT
    (SELECT count(*) FROM (SELECT 1 FROM jobledger_run LIMIT %s)),
    (SELECT (page_count - freelist_count) * page_size
        FROM pragma_page_count(), pragma_freelist_count(), pragma_page_size())
"""
