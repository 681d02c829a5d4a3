"""Measures what users feel, beside what they would use instead: ``python -m benchmarks``. See README.md."""

import argparse
import json
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from types import FrameType

from benchmarks import table
from benchmarks.databases import DATABASES, database_server, machine
from benchmarks.rows import commands, idle, latency, pages, runs, samples, sql, starts
from benchmarks.rows.row import DeadlineError, Figure, NotMeasuredError, Plan, Row

ROWS = (
    *(*runs.ROWS, *sql.ROWS, *commands.ROWS, *starts.ROWS),
    *(*idle.ROWS, *latency.ROWS, *pages.ROWS, *samples.ROWS),
)
NAMES = tuple(row.name for row in ROWS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows and print the table; returns 1 if one of them failed."""
    options = _parser().parse_args(arguments)
    plan = Plan(databases=options.database or DATABASES, is_smoke=options.smoke)
    unknown = set(options.name) - set(NAMES)
    if unknown:
        raise SystemExit(f"unknown rows: {', '.join(sorted(unknown))}; expected some of {', '.join(NAMES)}")
    chosen = [row for row in ROWS if row.name in (options.name or NAMES)]
    return _print_json(plan, chosen) if options.json else _print_table(plan, chosen)


def figures(plan: Plan, rows: Sequence[Row]) -> Iterator[tuple[str, Figure | str | None]]:
    """Each row's figures as soon as it has been measured; or why it was not, or None if it failed.

    A row that fails does not keep the others from being measured. What failed is on stderr.
    """
    for database in plan.databases:
        mine = [row for row in rows if database in row.databases]
        if not mine:
            continue
        try:
            with database_server(database):
                for row in mine:
                    yield from _figures(plan, row, database)
        except NotMeasuredError as missing:
            yield from ((row.name, str(missing)) for row in mine)


def _figures(plan: Plan, row: Row, database: str) -> Iterator[tuple[str, Figure | str | None]]:
    sys.stderr.write(f"{row.name}, {database} …\n")
    try:
        # What the servers' set-up prints does not belong to the table.
        with redirect_stdout(sys.stderr), _deadline(row):
            found = list(row.measure(plan, database))
        yield from ((row.name, figure) for figure in found)
    except NotMeasuredError as missing:
        yield row.name, str(missing)
    except Exception:  # noqa: BLE001 - whatever it is, the other rows are still measured
        traceback.print_exc()
        yield row.name, None


@contextmanager
def _deadline(row: Row) -> Iterator[None]:
    """Raise DeadlineError in the block, which then ends the processes that it has started."""

    def ring(signum: int, frame: FrameType | None) -> None:
        raise DeadlineError(f"{row.name} has taken longer than {row.deadline_seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(row.deadline_seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _print_table(plan: Plan, rows: Sequence[Row]) -> int:
    print(f"{', '.join(machine(database) for database in plan.databases)}\n\n{table.HEAD}")
    has_failed = False
    for name, figure in figures(plan, rows):
        has_failed |= figure is None
        if isinstance(figure, Figure):
            print(table.line(name, figure), flush=True)
        else:
            print(table.not_measured(name, figure or "it failed"), flush=True)
    return int(has_failed)


def _print_json(plan: Plan, rows: Sequence[Row]) -> int:
    measured = list(figures(plan, rows))
    found = [table.as_json(name, figure) for name, figure in measured if isinstance(figure, Figure)]
    missing = {name: figure for name, figure in measured if isinstance(figure, str)}
    failed = [name for name, figure in measured if figure is None]
    machines = [machine(database) for database in plan.databases]
    print(json.dumps({"machines": machines, "figures": found, "not_measured": missing, "failed": failed}))
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"rows to measure, all by default: {', '.join(NAMES)}")
    parser.add_argument("--database", action="append", choices=DATABASES, help="may be given more than once")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--smoke", action="store_true", help="as little as possible, to see whether it works")
    return parser


if __name__ == "__main__":
    sys.exit(main())
