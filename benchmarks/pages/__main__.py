"""Measures the admin's pages with a million runs: ``python -m benchmarks.pages``. See README.md.

The database is filled by ``benchmarks.seed``, once for each kind of database, and deleted afterwards. Pages
are requested through Django's test client as a superuser.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks import services
from benchmarks.databases import DATABASES, database_server, machine

PAGES = (
    ("home", "/admin/"),
    ("home, its timeline", "/admin/home/timeline/"),
    ("schedules", "/admin/django_celery_beat/periodictask/"),
    ("schedules, second page", "/admin/django_celery_beat/periodictask/?p=2"),
    ("runs", "/admin/jobledger/run/"),
    ("runs that failed", "/admin/jobledger/run/?status=failed"),
    ("runs of a job", "/admin/jobledger/run/?job={job}"),
    ("a run with 1 MiB of output", "/admin/jobledger/run/{run}/change/"),
    ("a schedule", "/admin/django_celery_beat/periodictask/{schedule}/change/"),
    ("metrics", "/metrics"),
)


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the requests of a page have taken, the first one first."""

    page: str
    queries: int
    cpu_seconds: list[float]
    """Of this process, which includes SQLite but not a server."""
    seconds: list[float]

    @property
    def cpu_median(self) -> float:
        """Without the first request, which loads modules and compiles templates."""
        return median(self.cpu_seconds[1:])


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill, measure and print a table for each database."""
    options = _parser().parse_args(arguments)
    for database in options.database or DATABASES[:1]:
        sys.stderr.write(f"{database}: inserting {options.schedules} schedules and {options.runs} runs\n")
        with database_server(database):
            pages = measured(schedules=options.schedules, runs=options.runs, repeat=options.repeat)
        head = f"{options.schedules:,} schedules, {options.runs:,} runs. {machine(database)}."
        sys.stdout.write(f"\n{head}\n\n{_table(pages)}\n")


def measured(*, schedules: int, runs: int, repeat: int) -> list[Page]:
    """Fill a database and request each page."""
    variables = {"DJANGO_SETTINGS_MODULE": "proj.settings", "METRICS_NETWORKS": "127.0.0.0/8"}
    with services.started(services.OURS, **variables) as made:
        size = ("--schedules", str(schedules), "--runs", str(runs))
        sys.stderr.write(services.output_of(made, "benchmarks.seed", *size))
        printed = services.output_of(made, "benchmarks.pages.times", "--repeat", str(repeat))
    return [Page(**each) for each in json.loads(printed)]


def _table(pages: Sequence[Page]) -> str:
    lines = [
        "| page | queries | CPU s, median | seconds, median | first time |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {each.page} | {each.queries} | {each.cpu_median:.3f} | {median(each.seconds[1:]):.3f}"
        f" | {each.seconds[0]:.3f} |"
        for each in pages
    ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument(
        "--repeat", type=int, default=5, help="how often to request each page after the first time"
    )
    parser.add_argument("--database", action="append", choices=DATABASES, help="may be given more than once")
    return parser


if __name__ == "__main__":
    main()
