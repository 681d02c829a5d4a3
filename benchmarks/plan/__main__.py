"""What a load needs: ``python -m benchmarks.plan --runs-per-day 1000000 --peak 41700``."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.plan import report
from benchmarks.plan.costs import FILE, Costs
from benchmarks.plan.planning import Drain, Load, drained, needs_of
from benchmarks.rows.row import NotMeasuredError

MIN_COUNT = 20


def main(argv: list[str] | None = None) -> int:
    """Measure if that is asked for, and print the plan; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if not options.measure and options.burst is None and options.runs_per_day is None:
        parser.error("say what to do: --runs-per-day, --measure or --burst")
    try:
        _measure(options)
    except NotMeasuredError as missing:
        return _failed(f"Nothing can be measured: {missing}")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return _failed(f"The measurement has failed, and nothing was written: {error}")
    if options.runs_per_day is None:
        return 0
    try:
        costs = Costs.read(options.costs)
    except (OSError, ValueError, TypeError) as error:
        return _failed(f"{options.costs} has no costs of this version ({error}). Measure them: --measure")
    return _plan(options, costs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="benchmarks.plan",
        description="Computes what a load needs, from what single parts were measured to cost.",
    )
    _add_load(parser)
    _add_machines(parser)
    measuring = parser.add_argument_group("measuring, which needs Docker and takes minutes")
    add = measuring.add_argument
    add("--measure", action="store_true", help="First measure the costs on this machine.")
    add("--count", type=_count, default=1000, help="With how many runs. Default: 1000.")
    add("--burst", type=_count, help="Measure how long so many runs take that are due in the same minute.")
    parser.add_argument("--json", action="store_true", help="Print the plan as JSON.")
    parser.add_argument(
        "--costs", type=Path, default=FILE, help="The file with the costs. Default: %(default)s."
    )
    return parser


def _add_load(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("the load").add_argument
    add("--runs-per-day", type=float, help="How many runs.")
    add("--peak", type=float, help="How many are due at the same time. Default: those of a second.")
    add("--peak-seconds", type=float, default=300, help="When the last of these should start. Default: 300.")
    add("--job-seconds", type=float, default=1, help="How long a job takes. Default: 1.")
    add("--job-cpu", type=float, default=0.1, help="Its CPU time, in seconds. Default: 0.1.")
    add("--output-kib", type=float, default=1, help="What it writes. Default: 1.")
    add("--keep-days", type=float, default=30, help="How long runs are kept. Default: 30.")
    add("--heartbeat-seconds", type=float, default=2, help="HEARTBEAT_SECONDS. Default: 2.")


def _add_machines(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("what there is").add_argument
    add(
        "--workers",
        type=_numbers,
        help="How many workers to try for the peak, as in 1,2,10. With --burst, the default is 1,2.",
    )
    add("--beats", type=_positive, default=1, help="How many beats to try for the peak. Default: 1.")
    add("--children", type=_positive, default=4, help="Of a worker: WORKER_CONCURRENCY. Default: 4.")
    add("--worker-cores", type=float, default=2, help="Of a machine for workers. Default: 2.")
    add("--database-cores", type=float, default=4, help="Of the database's machine. Default: 4.")
    add("--max-connections", type=int, default=100, help="Of the database. Default: 100.")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < MIN_COUNT:
        raise argparse.ArgumentTypeError(f"expected a number of runs, at least {MIN_COUNT}, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number, at least 1, got {text!r}")
    return int(text)


def _numbers(text: str) -> list[int]:
    numbers = text.split(",")
    if not all(number.isdecimal() and int(number) > 0 for number in numbers):
        raise argparse.ArgumentTypeError(f"expected numbers of workers, as in 1,2,10, got {text!r}")
    return [int(number) for number in numbers]


def _measure(options: argparse.Namespace) -> None:
    # Loads the tests' services.
    if options.measure:
        from benchmarks.plan.measuring import measured

        measured(options.count).write(options.costs)
    if options.burst is not None:
        from benchmarks.plan import burst

        bursts = burst.measured(options.burst, options.workers or [1, 2], options.children, options.beats)
        for line in report.of_bursts(bursts, Costs.read(options.costs), os.cpu_count() or 1):
            sys.stdout.write(f"{line}\n")
            # Each as soon as it is known, also into a file.
            sys.stdout.flush()


def _plan(options: argparse.Namespace, costs: Costs) -> int:
    try:
        load = _load(options)
        needs = needs_of(load, costs)
        drains = list(_drains(options, load, costs))
    except ValueError as error:
        return _failed(str(error))
    if options.json:
        plan = {"load": asdict(load), "costs": asdict(costs), "needs": asdict(needs)}
        json.dump({**plan, "drains": [asdict(each) for each in drains]}, sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        sys.stdout.write("\n".join(report.of_plan(load, needs, costs, drains)) + "\n")
    return 0


def _drains(options: argparse.Namespace, load: Load, costs: Costs) -> Iterator[Drain]:
    for number in options.workers or ():
        yield drained(load, costs, number, beats=options.beats)


def _load(options: argparse.Namespace) -> Load:
    a_second = options.runs_per_day / (24 * 3600)
    return Load(
        runs_per_day=options.runs_per_day,
        peak=min(a_second, options.runs_per_day) if options.peak is None else options.peak,
        peak_seconds=options.peak_seconds if options.peak is not None else 1,
        job_seconds=options.job_seconds,
        job_cpu_seconds=options.job_cpu,
        output_kib=options.output_kib,
        keep_days=options.keep_days,
        heartbeat_seconds=options.heartbeat_seconds,
        children=options.children,
        worker_cores=options.worker_cores,
        database_cores=options.database_cores,
        max_connections=options.max_connections,
    )


def _failed(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
