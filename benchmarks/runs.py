"""How many runs a worker with two children executes in a second, and what each costs.

python -m benchmarks.runs --database sqlite --database postgres
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psutil

from benchmarks.databases import DATABASES, database_server, machine
from tests.integration.database import connected, time_of
from tests.integration.service import Service, service
from tests.waiting import wait_until

CHILDREN = 2
WARM_UP = 20
"""Runs that are not measured: the first ones of a child import the job."""
ENQUEUE = """
from jobledger.models import Run, Trigger
from jobledger.runs import dispatch
from jobledger.runs.publishing import publisher
Run.objects.all().delete()
runs = [Run(job={job!r}, options={options}, trigger=Trigger.ADMIN) for _ in range({count})]
publisher.publish(Run.objects.bulk_create(runs))
"""
# Asked while the runs are measured: reads a few rows, whatever their number is.
UNFINISHED = "SELECT 1 FROM jobledger_run WHERE job IN ('noop', 'work') AND finished_at IS NULL LIMIT 1"
FINISHED = """
SELECT finished_at FROM jobledger_run
WHERE job IN ('noop', 'work') AND status = 'succeeded' ORDER BY finished_at
"""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What was measured with one database and one job."""

    runs_per_second: float
    processor_ms: float
    """CPU time of the worker and its children, per run."""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="benchmarks.runs")
    parser.add_argument("--database", action="append", choices=DATABASES)
    parser.add_argument("--count", type=int, default=500, help="How many runs; default: 500.")
    options = parser.parse_args()
    for database in options.database or DATABASES:
        sys.stdout.write(f"{machine(database)}, {CHILDREN} children, {options.count} runs\n\n")
        sys.stdout.write("| job | runs a second | CPU per run, ms |\n| --- | ---: | ---: |\n")
        with database_server(database), _worker() as running:
            for title, job_options in (("does nothing", {}), ("queries once", {"query": True})):
                rate = _rate(running, options.count, job_options)
                sys.stdout.write(f"| {title} | {rate.runs_per_second:.0f} | {rate.processor_ms:.1f} |\n")
        sys.stdout.write("\n")


@contextmanager
def _worker() -> Iterator[Service]:
    variables = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings", "LOG_LEVEL": "ERROR"}
    with service(**variables, WORKER_CONCURRENCY=str(CHILDREN)) as running:
        running.start_worker()
        yield running


def _rate(running: Service, count: int, options: dict[str, bool]) -> Rate:
    worker = psutil.Process(running.processes["worker"].pid)
    execute(running, WARM_UP, options)
    before = _processor_seconds(worker)
    times = execute(running, count, options)
    used = _processor_seconds(worker) - before
    seconds = (times[-1] - times[0]).total_seconds()
    return Rate(runs_per_second=(count - 1) / seconds, processor_ms=used / count * 1000)


def execute(running: Service, count: int, options: dict[str, bool]) -> list[datetime]:
    """Publish as many runs; returns when each ended. Raises RuntimeError if one has not succeeded."""
    running.shell(ENQUEUE.format(job="work" if options else "noop", options=options, count=count))
    # A new connection for each look would take a tenth of a processor from what is measured.
    with connected(running) as ask:
        wait_until(lambda: not ask(UNFINISHED), what="all runs have finished")
        times = [time_of(time) for (time,) in ask(FINISHED)]
    if len(times) != count:
        raise RuntimeError(f"only {len(times)} of {count} runs have succeeded")
    return times


def _processor_seconds(worker: psutil.Process) -> float:
    times = [each.cpu_times() for each in (worker, *worker.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


if __name__ == "__main__":
    main()
