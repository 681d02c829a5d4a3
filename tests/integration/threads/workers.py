"""Workers that execute jobs in threads, and what tests of them ask for; names are never reused."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.integration.database import rows
from tests.integration.ledger import output_of
from tests.integration.service import Service

# The process of an isolated run, which has to be started first, takes seconds on a busy machine.
LEASE_SECONDS = 25.0
QUICK = {
    "HEARTBEAT_SECONDS": "0.3",
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "REPUBLISH_AFTER_SECONDS": "2",
    "VISIBILITY_TIMEOUT": "4",
    "SHUTDOWN_GRACE_SECONDS": "1",
}
THREADS = 100
ENQUEUE = """
from datetime import timedelta
from jobledger.models import Trigger
from jobledger.runs.dispatch import RunRequest, enqueue
limits = dict(time_limit=timedelta(seconds={limit}), time_limit_grace=timedelta(seconds={grace}))
print(enqueue(RunRequest(job={job!r}, options={options!r}, trigger=Trigger.ADMIN, **limits)).pk)
"""

_numbers = count(1)


def start_threads(running: Service, **variables: str) -> str:
    """Start a worker; returns its name."""
    name = f"threads{next(_numbers)}"
    running.start_worker(name, "--pool", "threads", "--concurrency", str(THREADS), **variables)
    return name


def enqueue_limited(running: Service, job: str, *, limit: float, grace: float, **options: Any) -> UUID:
    """Publish a run that has these limits, in seconds."""
    code = ENQUEUE.format(job=job, options=options, limit=limit, grace=grace)
    return UUID(running.shell(code).strip())


def open_connections(running: Service) -> int:
    """How many the service's database on PostgreSQL has, with that of the question."""
    ((count,),) = rows(running, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    return int(count)


def lines_of(running: Service, pk: UUID, *, attempt: int = 1) -> list[str]:
    """What the run has written so far."""
    return output_of(running, pk, attempt=attempt).splitlines()


@contextmanager
def end_file(running: Service, name: str) -> Iterator[Path]:
    """A file that jobs wait for: in the block, there is none yet unless it makes it."""
    path = running.folder / name
    try:
        yield path
    finally:
        path.touch()


@contextmanager
def fifo(running: Service, name: str) -> Iterator[Path]:
    """A fifo that a job can wait at, in a system call; whoever waits at the end of the block goes on."""
    path = running.folder / name
    os.mkfifo(path)
    try:
        yield path
    finally:
        let_read(path)
        path.unlink()


def let_read(path: Path) -> None:
    """Let whoever waits at the fifo go on."""
    # For both, so that it does not wait for a reader.
    os.close(os.open(path, os.O_RDWR))
