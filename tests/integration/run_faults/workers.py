"""The workers of a service whose parts die: each has a name that no other one had."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from uuid import UUID

from tests.integration.saying import Say
from tests.integration.service import Service, service
from tests.integration.survival import (
    Attempt,
    RunRow,
    audit,
    is_quiet,
    kill_whole,
    wait_for_start,
    wait_for_status,
)
from tests.waiting import wait_until

# Celery looks for dead children every five seconds.
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


@contextmanager
def audited_service(say: Say) -> Iterator[Service]:
    """A service with a beat; at the end all its runs are accounted for."""
    with service(**QUICK) as started:
        started.start_beat()
        yield started
        # For what is still queued.
        start_another(started)
        wait_until(lambda: is_quiet(started), deadline_seconds=60, what="every run is over")
        figures = audit(started)
        say(f"audit of {__package__}: {figures}")
        assert figures.is_clean


def start_another(running: Service) -> str:
    """Start a worker; returns its name."""
    name = f"worker{next(_numbers)}"
    running.start_worker(name)
    return name


@contextmanager
def another_worker(running: Service) -> Iterator[str]:
    """A worker that is there inside the block, by its name."""
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
    """The row of a run that is in the middle of its work."""
    wait_for_start(running, pk)
    return wait_for_status(running, pk, "running")


def seconds_between(earlier: datetime | None, later: datetime | None) -> float:
    """How long after the one the other was."""
    assert earlier
    assert later
    return (later - earlier).total_seconds()
