"""One service for all tests of this folder, in which nothing goes wrong but what a job does."""

from collections.abc import Iterator

import pytest

from tests.integration.saying import Say
from tests.integration.service import Service, service
from tests.integration.survival import audit, is_quiet
from tests.waiting import wait_until

# A lease that no test's load on the machine, and no job in C code, outlasts.
QUICK = {
    "HEARTBEAT_SECONDS": "0.3",
    "LEASE_SECONDS": "60",
    "REPUBLISH_AFTER_SECONDS": "2",
    "WORKER_CONCURRENCY": "3",
}


@pytest.fixture(scope="package")
def running(say_always: Say) -> Iterator[Service]:
    """A service with one worker and one beat; at the end all its runs are accounted for."""
    with service(**QUICK) as started:
        started.start_worker()
        started.start_beat()
        yield started
        wait_until(lambda: is_quiet(started), deadline_seconds=60, what="every run is over")
        figures = audit(started)
        say_always(f"audit of {__package__}: {figures}")
        assert figures.is_clean
