"""What statements cost a PostgreSQL server: log, pages, CPU time, kinds of updates, sizes, and time."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Self

import psutil
from django.db import connection

from benchmarks.plan.used import server_pid

TABLES = ("jobledger_run", "jobledger_runoutput", "jobledger_nextslot", "django_celery_beat_periodictask")
_POSITION = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
# Whether they were in its memory or not. Those of the system's catalogs are not counted.
_PAGES = """
SELECT sum(coalesce(heap_blks_read + heap_blks_hit, 0) + coalesce(idx_blks_read + idx_blks_hit, 0)
    + coalesce(toast_blks_read + toast_blks_hit, 0) + coalesce(tidx_blks_read + tidx_blks_hit, 0))
FROM pg_statio_user_tables
"""
_STATE = (
    "SELECT n_tup_upd, n_tup_hot_upd, pg_table_size(relid), pg_indexes_size(relid)"
    " FROM pg_stat_user_tables WHERE relname = %s"
)


@dataclass(kw_only=True)
class Costs:
    """What the steps of many runs have cost so far."""

    bytes_of: Counter[str] = field(default_factory=Counter)
    """Of write-ahead log, by step."""
    pages_of: Counter[str] = field(default_factory=Counter)
    """Of tables and indexes that were read, by step; a page counts each time."""
    cpu_ms_of: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Of the server, by step."""
    seconds_of: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long each call took, by step."""

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add what is written to the log during the block, and what this connection reads and uses."""
        pages, position = _pages(), row(_POSITION)[0]
        cpu_ms, began = _cpu_ms(), perf_counter()
        yield
        self.seconds_of[name].append(perf_counter() - began)
        self.cpu_ms_of[name] += _cpu_ms() - cpu_ms
        self.bytes_of[name] += int(row(_POSITION)[0] - position)
        self.pages_of[name] += _pages() - pages


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
        _publish_counts()
        updates, heap_only, table_bytes, index_bytes = row(_STATE, [table])
        return cls(updates=updates, heap_only=heap_only, table_bytes=table_bytes, index_bytes=index_bytes)


def states() -> Mapping[str, TableState]:
    """Of each table that a run changes."""
    return {table: TableState.read(table) for table in TABLES}


def table_of_steps(costs: Costs, runs: int) -> str:
    lines = ["| step | bytes of WAL per run | pages | CPU ms | ms per call, median |"]
    lines += ["| --- |" + " ---: |" * 4]
    for name, written in costs.bytes_of.items():
        call_ms = f"{median(costs.seconds_of[name]) * 1000:.1f}"
        lines.append(_row(name, written, costs.pages_of[name], costs.cpu_ms_of[name], runs, call_ms))
    cpu_ms = sum(costs.cpu_ms_of.values())
    return "\n".join([*lines, _row("all", costs.bytes_of.total(), costs.pages_of.total(), cpu_ms, runs)])


def _row(name: str, written: int, pages: int, cpu_ms: float, runs: int, call_ms: str = "") -> str:
    return f"| {name} | {written / runs:,.0f} | {pages / runs:,.1f} | {cpu_ms / runs:.2f} | {call_ms} |"


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


def _pages() -> int:
    _publish_counts()
    return int(row(_PAGES)[0])


def _publish_counts() -> None:
    """What this connection has counted is otherwise not seen at once."""
    row("SELECT pg_stat_force_next_flush()")
    row("SELECT pg_stat_clear_snapshot()")


def _cpu_ms() -> float:
    """Of the server's process for this connection, by the kernel's own clock, whose ticks are too coarse."""
    nanoseconds, *_ = _schedstat(row("SELECT pg_backend_pid()")[0]).read_text().split()
    return int(nanoseconds) / 1e6


@lru_cache(maxsize=1)
def _schedstat(pid: int) -> Path:
    """Of a process that has this id in the server's container, whose process ids are its own."""
    for process in psutil.Process(server_pid()).children():
        folder = Path(f"/proc/{process.pid}")
        if f"NSpid:\t{process.pid}\t{pid}\n" in (folder / "status").read_text():
            return folder / "schedstat"
    raise RuntimeError(f"the server has no process {pid}")
