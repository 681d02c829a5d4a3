"""Measures what a run costs PostgreSQL: ``python -m benchmarks.ledger``. See README.md.

Sends the statements that beat and a worker send for a run, without either, to a server in a container, and
prints the bytes of write-ahead log, the pages that were read, the CPU time, the share of heap-only (HOT)
updates, and the size of tables and indexes. Most of these do not depend on how busy the machine is.

With ``--sizes``, it compares what runs, pages and deleting cost with ledgers of these sizes.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.databases import machine
from benchmarks.ledger import sizes
from tests.integration.service import ROOT
from tests.requirements import missing_docker
from tests.with_postgres import postgres

SECONDS = 900
"""How long all runs of one kind may take."""
AS_IN_PRODUCTION = ("wal_level=replica", "autovacuum=off", "max_wal_size=20GB", "checkpoint_timeout=1h")
"""Without what would write at times of its own."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table for each setting of ``full_page_writes``, or one of all sizes."""
    options = _parser().parse_args(arguments)
    if reason := missing_docker():
        raise SystemExit(f"Nothing was measured: {reason}")
    if options.sizes:
        print(sizes.compare(options.sizes, options.runs, options.delete))
        return
    for whole_pages in options.full_page_writes or ("off", "on"):
        with postgres(*AS_IN_PRODUCTION, f"full_page_writes={whole_pages}") as url:
            print(f"{machine('postgres')}, full_page_writes={whole_pages}, {options.runs:,} runs each\n")
            _measure(url, options.runs)


def _measure(url: str, runs: int) -> None:
    sys.stdout.flush()
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "LOG_LEVEL": "ERROR",
    }
    command = (sys.executable, "-m", "benchmarks.ledger.steps", str(runs))
    subprocess.run(command, cwd=ROOT, env=environment, timeout=SECONDS, check=True)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ledger", description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="of each kind; default: 2000")
    parser.add_argument(
        "--sizes", type=_numbers, help="compare ledgers of so many runs, such as 10000,100000,10000000"
    )
    parser.add_argument("--delete", type=int, default=10_000, help="how many of them; default: 10000")
    parser.add_argument(
        "--full-page-writes", action="append", choices=("off", "on"), help="default: both, one after another"
    )
    return parser


if __name__ == "__main__":
    main()
