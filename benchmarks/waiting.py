"""What jobs that wait for the network cost: one process with a thread for each, or a process for each.

A worker executes as many jobs as it may at a time, each of which waits for a file. Then the memory of all its
processes is read, divided among those that share it (``Pss``), and how many processes and connections to the
database there are.

    .venv/bin/python -m benchmarks.waiting --jobs 100
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.integration.ledger import call, run_rows, wait_for_end, wait_for_start
from tests.integration.service import Service, service

MEBIBYTE = 1024 * 1024
POOLS = ("threads", "prefork")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a worker needs while its jobs wait."""

    pool: str
    jobs: int
    processes: int
    memory_bytes: int
    idle_bytes: int
    """Before the first job."""
    seconds: float
    """From the first message until all jobs have begun."""

    def __str__(self) -> str:
        memory, idle = self.memory_bytes // MEBIBYTE, self.idle_bytes // MEBIBYTE
        return (
            f"{self.pool}: {self.jobs} waiting jobs, {self.processes} processes, {memory} MiB "
            f"({idle} MiB when idle), begun within {self.seconds:.1f} s"
        )


def measured(pool: str, jobs: int) -> Cost:
    """Start a service whose worker has this pool, and jobs that all wait at the same time."""
    with service(LEASE_SECONDS="60") as running:
        running.start_worker("worker", "--pool", pool, "--concurrency", str(jobs))
        worker = psutil.Process(running.processes["worker"].pid)
        idle, until = memory_of(worker), running.folder / "go"
        begin = time.monotonic()
        pks = [call(running, "waiting", until=str(until)) for _ in range(jobs)]
        for pk in pks:
            wait_for_start(running, pk)
        seconds = time.monotonic() - begin
        assert_all_wait(running, jobs)
        cost = Cost(
            pool=pool,
            jobs=jobs,
            processes=1 + len(worker.children(recursive=True)),
            memory_bytes=memory_of(worker),
            idle_bytes=idle,
            seconds=seconds,
        )
        until.touch()
        for pk in pks:
            wait_for_end(running, pk)
    return cost


def assert_all_wait(running: Service, jobs: int) -> None:
    """Raise AssertionError if not all of them run at the same time."""
    found = len(run_rows(running, "status = 'running'"))
    if found != jobs:
        raise AssertionError(f"{found} instead of {jobs} jobs are running")


def memory_of(process: psutil.Process) -> int:
    """In bytes, with that of all its descendants, each with its share of what it shares."""
    return sum(proportional(each.pid) for each in (process, *process.children(recursive=True)))


def proportional(pid: int) -> int:
    """The process's ``Pss``."""
    lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--pool", choices=POOLS, action="append", help="Both by default.")
    options = parser.parse_args(argv)
    for pool in options.pool or POOLS:
        print(measured(pool, options.jobs), flush=True)


if __name__ == "__main__":
    main()
