"""Measures the admin's pages with a million runs: ``python -m benchmarks.pages``. See README.md.

The database is filled by ``benchmarks.seed``, once for each kind of database, and deleted afterwards. Pages
are requested through Django's test client as a superuser.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median

from benchmarks.databases import DATABASES, database_server, machine
from tests.integration.service import ROOT, Service, service

PAGES = (
    ("home", "/admin/"),
    ("schedules", "/admin/django_celery_beat/periodictask/"),
    ("schedules, second page", "/admin/django_celery_beat/periodictask/?p=2"),
    ("runs", "/admin/jobledger/run/"),
    ("runs that failed", "/admin/jobledger/run/?status=failed"),
    ("runs of a job", "/admin/jobledger/run/?job={job}"),
    ("a run with 1 MiB of output", "/admin/jobledger/run/{run}/change/"),
    ("a schedule", "/admin/django_celery_beat/periodictask/{schedule}/change/"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill, measure and print a table for each database."""
    options = _parser().parse_args(arguments)
    for database in options.database or DATABASES[:1]:
        with (
            database_server(database),
            service(LOG_LEVEL="ERROR", DJANGO_SETTINGS_MODULE="proj.settings") as made,
        ):
            sys.stderr.write(f"{database}: inserting {options.schedules} schedules and {options.runs} runs\n")
            size = ("--schedules", str(options.schedules), "--runs", str(options.runs))
            sys.stderr.write(_run(made, "benchmarks.seed", *size))
            measured = json.loads(_run(made, "benchmarks.pages.times", "--repeat", str(options.repeat)))
        head = f"{options.schedules:,} schedules, {options.runs:,} runs. {machine(database)}."
        sys.stdout.write(f"\n{head}\n\n{_table(measured)}\n")


def _run(made: Service, module: str, *arguments: str) -> str:
    command = (sys.executable, "-m", module, *arguments)
    done = subprocess.run(
        command, cwd=ROOT, env=made.environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def _table(measured: list[dict[str, object]]) -> str:
    lines = ["| page | queries | seconds, median | first time |", "| --- | ---: | ---: | ---: |"]
    for each in measured:
        seconds = [float(str(value)) for value in each["seconds"]]  # type: ignore[attr-defined]
        figures = f"{each['queries']} | {median(seconds[1:]):.3f} | {seconds[0]:.3f}"
        lines.append(f"| {each['page']} | {figures} |")
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
