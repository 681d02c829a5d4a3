"""One service for all tests in this directory; its parts die, hang and restart in the middle of runs.

No run may be lost silently, and none may be executed twice unless its job allows that.
"""

from collections.abc import Iterator

import pytest

from tests.integration.faults.workers import audited_service, usual_worker
from tests.integration.service import Service


@pytest.fixture(scope="session")
def fragile() -> Iterator[Service]:
    """A service with a beat; its runs are audited at the end."""
    with audited_service() as started:
        yield started


@pytest.fixture
def running(fragile: Service) -> Service:
    """The service with all its parts, even if an earlier test that failed has stopped some of them."""
    if not fragile.is_running("redis"):
        fragile.start_redis()
    if not fragile.is_running("beat"):
        fragile.start_beat()
    return fragile


@pytest.fixture
def worker(running: Service) -> str:
    """The name of the only worker, which may be killed: the next test then gets a new one."""
    return usual_worker(running)
