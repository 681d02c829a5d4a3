"""Compares this scheduler to django-celery-beat's: ``python -m benchmarks.scheduler``. See README.md."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.databases import DATABASES
from benchmarks.scheduler.comparison import Plan, compare
from benchmarks.scheduler.report import as_json, markdown

SIZES = (100, 1_000, 10_000, 100_000)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure on each database, print the tables, and optionally write all figures to a file."""
    options = _parser().parse_args(arguments)
    comparisons = []
    for database in options.database or DATABASES[:1]:
        plan = Plan(
            database=database,
            sizes=options.sizes,
            burst=options.burst,
            repeat=options.repeat,
            is_stock_in_full=options.stock_in_full,
        )
        comparisons.append(compare(plan, log=_log))
        sys.stdout.write(f"\n{markdown(comparisons[-1])}\n")
    if options.json:
        options.json.write_text(as_json(comparisons))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scheduler", description=__doc__)
    parser.add_argument("--sizes", type=_sizes, default=SIZES, help="numbers of schedules, such as 100,1000")
    parser.add_argument(
        "--burst", type=int, default=10_000, help="how many schedules are due in the same second; 0: skip"
    )
    parser.add_argument("--repeat", type=int, default=5, help="how often to repeat each measurement")
    parser.add_argument(
        "--database",
        action="append",
        choices=DATABASES,
        help="may be given more than once; postgres starts a container (default: sqlite)",
    )
    parser.add_argument(
        "--stock-in-full",
        action="store_true",
        help="wait until the stock scheduler has dispatched everything that is due, instead of a sample",
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    return parser


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.split(","))


def _log(message: str) -> None:
    sys.stderr.write(f"{message}\n")


if __name__ == "__main__":
    main()
