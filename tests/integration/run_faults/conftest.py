"""One service for all tests of this folder, whose parts die, hang and come back in the middle of runs.

None of its runs may be lost in silence, none executed twice unless its job bears that.
"""

from collections.abc import Iterator

import pytest

from tests.integration.run_faults.workers import LEASE_SECONDS, VISIBILITY_SECONDS, start_another
from tests.integration.saying import Say
from tests.integration.service import Service, service
from tests.integration.survival import audit, is_quiet
from tests.waiting import wait_until

QUICK = {
    "HEARTBEAT_SECONDS": "0.3",
    "LEASE_SECONDS": str(LEASE_SECONDS),
    "REPUBLISH_AFTER_SECONDS": "2",
    "VISIBILITY_TIMEOUT": str(VISIBILITY_SECONDS),
    "SHUTDOWN_GRACE_SECONDS": "1",
    "WORKER_CONCURRENCY": "2",
}


@pytest.fixture(scope="package")
def running(say_always: Say) -> Iterator[Service]:
    """A service with a beat; at the end all its runs are accounted for."""
    with service(**QUICK) as started:
        started.start_beat()
        yield started
        # For what is still queued.
        start_another(started)
        wait_until(lambda: is_quiet(started), deadline_seconds=60, what="every run is over")
        figures = audit(started)
        say_always(f"audit of {__package__}: {figures}")
        assert figures.is_clean


@pytest.fixture
def worker(running: Service) -> str:
    """The name of the one worker, which may be killed: the next test then gets another one."""
    alive = [name for name in running.processes if name.startswith("worker") and running.is_running(name)]
    return alive[0] if alive else start_another(running)
