"""Compares what ledgers of different sizes cost: ``python -m benchmarks.ledger --sizes``. See README.md."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from benchmarks.databases import machine
from benchmarks.ledger.at_size import Figure
from tests.integration.service import ROOT
from tests.with_postgres import postgres

SETTINGS = ("autovacuum=off", "maintenance_work_mem=512MB", "max_wal_size=4GB", "shared_buffers=512MB")
"""Without what would write at times of its own; and indexes are built in minutes."""
SCHEDULES, ORIGINALS = 100, 10_000
"""These runs are copied into the past, in the database."""
SEED_SECONDS, MEASURE_SECONDS = 3600, 3600
Figures = Mapping[str, Figure]


def compare(sizes: Sequence[int], runs: int, deleted: int) -> str:
    """Fill a database of each size, one after another, and measure with so many runs; returns a table."""
    measured = dict[int, Figures]()
    # Its data would take several GB of memory otherwise.
    with postgres(*SETTINGS, is_on_disk=True) as server:
        for size in sizes:
            with _database(server, f"runs_{size}") as url:
                _log(f"{size:,} runs: filling")
                copies = ("--copies", str(size // ORIGINALS - 1)) if size > ORIGINALS else ()
                first = ("--schedules", str(SCHEDULES), "--runs", str(min(size, ORIGINALS)))
                _run(url, SEED_SECONDS, "benchmarks.seed", *first, *copies)
                _log(f"{size:,} runs: measuring")
                printed = _run(url, MEASURE_SECONDS, "benchmarks.ledger.at_size", str(runs), str(deleted))
                measured[size] = {each["title"]: Figure(**each) for each in json.loads(printed)}
    return f"{machine('postgres')}\n\n{table(measured)}"


def table(measured: Mapping[int, Figures]) -> str:
    """Pages, log and CPU time at each size, and the ratio of the largest to the smallest that has it."""
    sizes = sorted(measured)
    kinds = [f"{what}, {size:,}" for what in ("pages", "WAL", "CPU ms") for size in (*sizes, -1)]
    heads = [kind.replace(", -1", ", ratio") for kind in kinds]
    lines = [f"| | {' | '.join(heads)} |", "| --- |" + " ---: |" * len(heads)]
    for title in measured[sizes[-1]]:
        found = [measured[size].get(title) for size in sizes]
        cells = [cell for name in ("pages", "wal_bytes", "cpu_ms") for cell in _cells(found, name)]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(found: Sequence[Figure | None], name: str) -> Iterator[str]:
    values = [None if figure is None else float(getattr(figure, name)) for figure in found]
    for value in values:
        yield "" if value is None else f"{value:,.2f}" if value < 10 else f"{value:,.0f}"
    known = [value for value in values if value is not None]
    yield f"{known[-1] / known[0]:.2f}" if known[0] and len(known) > 1 else ""


@contextmanager
def _database(server: str, name: str) -> Iterator[str]:
    """A new database, which is dropped afterwards."""
    identifier = sql.Identifier(name)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(identifier))
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def _run(url: str, seconds: int, module: str, *arguments: str) -> str:
    """What the module prints."""
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "LOG_LEVEL": "ERROR",
        "KEEP_RUNS": "1",
    }
    command = (sys.executable, "-m", module, *arguments)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=seconds, check=True
    )
    return done.stdout


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")
