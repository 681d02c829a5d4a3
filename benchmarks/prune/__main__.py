"""Measures how old runs are deleted from a large ledger: ``python -m benchmarks.prune``. See README.md.

Each way starts from the same ledger, which is filled once and copied, while another process writes all the
time, and its longest wait is measured.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import psutil

from benchmarks.copies import copied, writing
from benchmarks.databases import DATABASES, database_server, machine
from tests.integration.service import ROOT, Service, service

WAYS = {
    "nothing": "nothing is deleted",
    "prune_runs": "`prune_runs`",
    "queryset": "`queryset.delete()`",
    "statement": "one `DELETE` per table",
}
KEPT_SHARE_DAYS = 2
"""With 1,000 seeded schedules, about a tenth of a million runs are from the last two days."""
SAMPLE_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one way has taken."""

    way: str
    deleted: int
    seconds: float
    longest_wait: float
    p99_wait: float
    """Of another process that writes, in seconds."""
    first_rss: int
    peak_rss: int
    """Memory of the process, early on and at most, in bytes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill, measure and print a table for each database."""
    options = _parser().parse_args(arguments)
    for database in options.database or DATABASES[:1]:
        with database_server(database), service(LOG_LEVEL="ERROR", KEEP_DAYS=str(KEPT_SHARE_DAYS)) as made:
            _log(f"{database}: inserting {options.runs:,} runs")
            size = ("--schedules", str(options.schedules), "--runs", str(options.runs))
            _run(made, "benchmarks.seed", *size)
            _run(made, "benchmarks.prune.ways", "fill")
            measured = [_measured(made, way, options.quiet_seconds) for way in options.way or WAYS]
        sys.stdout.write(f"\n{options.runs:,} runs. {machine(database)}.\n\n{_table(measured)}\n")
        sys.stdout.write(f"\n{json.dumps([asdict(each) for each in measured])}\n")


def _measured(made: Service, way: str, quiet_seconds: float) -> Figures:
    with copied(made) as copy, writing(copy) as waits:
        _log(f"{way} …")
        if way == "nothing":
            time.sleep(quiet_seconds)
            rss, result = [0], {"deleted": 0, "seconds": quiet_seconds}
        else:
            rss, result = _watched(copy, way)
        found = sorted(waits())
    figures = Figures(
        way=way,
        deleted=int(result["deleted"]),
        seconds=float(result["seconds"]),
        longest_wait=found[-1],
        p99_wait=found[len(found) * 99 // 100],
        first_rss=rss[len(rss) // 10],
        peak_rss=max(rss),
    )
    _log(str(figures))
    return figures


def _watched(copy: Service, way: str) -> tuple[list[int], dict[str, float]]:
    """Delete in a process of its own; returns its memory over time, and what it printed."""
    command = (sys.executable, "-m", "benchmarks.prune.ways", way)
    with subprocess.Popen(
        command, cwd=ROOT, env=copy.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        rss, watched = list[int](), psutil.Process(process.pid)
        while process.poll() is None:
            rss.append(watched.memory_info().rss)
            time.sleep(SAMPLE_SECONDS)
        printed = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise SystemExit(f"{way} failed")
    result: dict[str, float] = json.loads(printed)
    # Without the imports at the start, and the end.
    return rss[8:-1] or rss, result


def _run(made: Service, module: str, *arguments: str) -> None:
    command = (sys.executable, "-m", module, *arguments)
    subprocess.run(command, cwd=ROOT, env=made.environment, stdout=sys.stderr, check=True)


def _table(measured: Sequence[Figures]) -> str:
    lines = [
        "| | runs deleted | s | longest wait of a writer, ms | 99th percentile, ms | memory, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in measured:
        wait, p99 = each.longest_wait * 1000, each.p99_wait * 1000
        memory = f"{each.first_rss / 2**20:.0f} to {each.peak_rss / 2**20:.0f}"
        lines.append(
            f"| {WAYS[each.way]} | {each.deleted:,} | {each.seconds:.0f} | {wait:,.0f} | {p99:.0f} |"
            f" {memory if each.deleted else ''} |"
        )
    return "\n".join(lines)


def _log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prune", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--way", action="append", choices=WAYS, help="may be given more than once")
    parser.add_argument("--quiet-seconds", type=float, default=60, help="how long to measure without")
    parser.add_argument("--database", action="append", choices=DATABASES, help="may be given more than once")
    return parser


if __name__ == "__main__":
    main()
