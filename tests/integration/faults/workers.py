"""The workers of a service whose parts die; names of workers are never reused."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from uuid import UUID

from tests.integration.ledger import (
    Attempt,
    RunRow,
    audited,
    is_quiet,
    wait_for_start,
    wait_for_status,
)
from tests.integration.processes import kill_whole
from tests.integration.service import Service, service

# Celery checks for dead children every five seconds.
LEASE_SECONDS = 7.0
VISIBILITY_SECONDS = 4

QUICK = {
    "HEARTBEAT_SECONDS": "0.3",
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "REPUBLISH_AFTER_SECONDS": "2",
    "VISIBILITY_TIMEOUT": str(VISIBILITY_SECONDS),
    "SHUTDOWN_GRACE_SECONDS": "1",
    "WORKER_CONCURRENCY": "2",
}

_numbers = count(1)
_of_one_test = set[str]()
"""Workers with variables of their own, which no other test gets."""


@contextmanager
def audited_service() -> Iterator[Service]:
    """A service with a beat; its runs are audited at the end."""
    with service(**QUICK) as started:
        started.start_beat()
        with audited(started):
            yield started
            if not is_quiet(started):
                start_another(started)


def start_another(running: Service, **variables: str) -> str:
    """Start a worker; returns its name."""
    name = f"worker{next(_numbers)}"
    if variables:
        _of_one_test.add(name)
    running.start_worker(name, **variables)
    return name


def usual_worker(running: Service) -> str:
    """The name of a worker that runs and has no variables of its own; those that have are killed."""
    alive = [name for name in running.processes if name.startswith("worker") and running.is_running(name)]
    for name in _of_one_test.intersection(alive):
        kill_whole(running, name)
    usual = [name for name in alive if name not in _of_one_test]
    return usual[0] if usual else start_another(running)


@contextmanager
def another_worker(running: Service) -> Iterator[str]:
    """The name of a worker that runs inside the block."""
    name = start_another(running)
    try:
        yield name
    finally:
        if name in running.processes:
            kill_whole(running, name)


def worker_of(row: RunRow | Attempt) -> str:
    """The name of the worker that executed it."""
    return row.worker.partition("@")[0]


def when_begun(running: Service, pk: UUID) -> RunRow:
    """The row of a run whose job is working."""
    wait_for_start(running, pk)
    return wait_for_status(running, pk, "running")


def seconds_between(earlier: datetime | None, later: datetime | None) -> float:
    """The time from ``earlier`` to ``later``."""
    assert earlier
    assert later
    return (later - earlier).total_seconds()
