"""The service that most tests with real processes share; those that break one have another."""

from collections.abc import Iterator

import pytest

from tests.integration.service import Service, service

QUICK = {
    "HEARTBEAT_SECONDS": "0.3",
    # A lease that no load on the machine, and no job in C code, outlasts.
    "LEASE_SECONDS": "60",
    "REPUBLISH_AFTER_SECONDS": "2",
    "WORKER_CONCURRENCY": "3",
}


@pytest.fixture(scope="session")
def running() -> Iterator[Service]:
    """A service with one worker and one beat, in which nothing goes wrong but what a job does.

    Each test leaves it as it was: with no schedule and no run that goes on.
    """
    with service(**QUICK) as started:
        started.start_worker()
        started.start_beat()
        yield started
