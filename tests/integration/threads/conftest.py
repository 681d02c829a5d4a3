"""One service for all tests in this directory; its workers execute jobs in threads."""

from collections.abc import Iterator

import pytest

from tests.integration.ledger import audited, is_quiet
from tests.integration.service import Service, service
from tests.integration.threads.workers import QUICK, start_threads


@pytest.fixture(scope="session")
def with_threads() -> Iterator[Service]:
    """A service with a beat; its runs are audited at the end."""
    with service(**QUICK) as started:
        started.start_beat()
        with audited(started):
            yield started
            if not is_quiet(started):
                start_threads(started)


@pytest.fixture
def running(with_threads: Service) -> Service:
    return with_threads


@pytest.fixture
def worker(running: Service) -> str:
    """The name of the only worker, which may end: the next test then gets a new one."""
    alive = [name for name in running.processes if name.startswith("threads") and running.is_running(name)]
    return alive[0] if alive else start_threads(running)
