"""What statements cost a PostgreSQL server: bytes of write-ahead log, kinds of updates, sizes, and time."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import Any, Self

from django.db import connection

TABLES = ("jobledger_run", "jobledger_runoutput", "jobledger_nextslot", "django_celery_beat_periodictask")
_POSITION = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
_STATE = (
    "SELECT n_tup_upd, n_tup_hot_upd, pg_table_size(relid), pg_indexes_size(relid)"
    " FROM pg_stat_user_tables WHERE relname = %s"
)


@dataclass(kw_only=True)
class Costs:
    """What the steps of many runs have cost so far."""

    bytes_of: Counter[str] = field(default_factory=Counter)
    """Of write-ahead log, by step."""
    seconds_of: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long each call took, by step."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add what is written to the log during the block."""
        position, began = row(_POSITION)[0], perf_counter()
        yield
        self.seconds_of[name].append(perf_counter() - began)
        self.bytes_of[name] += int(row(_POSITION)[0] - position)


@dataclass(frozen=True, kw_only=True)
class TableState:
    """How often a table was updated since the server was started, and its size."""

    updates: int
    heap_only: int
    """How many of the updates have added no entry to an index."""
    table_bytes: int
    index_bytes: int

    @classmethod
    def read(cls, table: str) -> Self:
        # What this connection has counted is otherwise not seen at once.
        row("SELECT pg_stat_force_next_flush()")
        row("SELECT pg_stat_clear_snapshot()")
        updates, heap_only, table_bytes, index_bytes = row(_STATE, [table])
        return cls(updates=updates, heap_only=heap_only, table_bytes=table_bytes, index_bytes=index_bytes)


def states() -> Mapping[str, TableState]:
    """Of each table that a run changes."""
    return {table: TableState.read(table) for table in TABLES}


def table_of_steps(costs: Costs, runs: int) -> str:
    lines = ["| step | bytes of WAL per run | ms per call, median |", "| --- | ---: | ---: |"]
    for name, written in costs.bytes_of.items():
        lines.append(f"| {name} | {written / runs:,.0f} | {median(costs.seconds_of[name]) * 1000:.1f} |")
    return "\n".join([*lines, f"| all | {costs.bytes_of.total() / runs:,.0f} | |"])


def table_of_tables(before: Mapping[str, TableState], runs: int) -> str:
    """What has changed since then."""
    lines = ["| table | updates per run | HOT | bytes per run | of indexes |", "| --- |" + " ---: |" * 4]
    for name, after in states().items():
        was = before[name]
        updates = after.updates - was.updates
        share = f"{(after.heap_only - was.heap_only) / updates:.0%}" if updates else ""
        grown = (after.table_bytes - was.table_bytes) / runs, (after.index_bytes - was.index_bytes) / runs
        lines.append(f"| `{name}` | {updates / runs:.1f} | {share} | {grown[0]:,.0f} | {grown[1]:,.0f} |")
    return "\n".join(lines)


def row(statement: str, parameters: Sequence[Any] = ()) -> Sequence[Any]:
    """The first row of what the statement returns; empty if that is none."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone() or () if cursor.description else ()
