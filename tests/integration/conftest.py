"""The service that most tests with real processes share; tests that break one use another."""

from collections.abc import Iterator

import pytest

from tests.integration.service import Service, service

QUICK = {
    "HEARTBEAT_SECONDS": "0.3",
    # A lease longer than any delay caused by load on the machine or by a job in C code.
    "LEASE_SECONDS": "60",
    "REPUBLISH_AFTER_SECONDS": "2",
    "WORKER_CONCURRENCY": "3",
}


@pytest.fixture(scope="session")
def running() -> Iterator[Service]:
    """A service with one worker and one beat, in which nothing fails except jobs.

    Each test must leave it without schedules and without running runs.
    """
    with service(**QUICK) as started:
        started.start_worker()
        started.start_beat()
        yield started
