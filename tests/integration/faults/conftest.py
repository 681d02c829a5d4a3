"""One service for all tests of this folder, whose parts die, hang and come back in the middle of runs.

None of its runs may be lost in silence, none executed twice unless its job bears that.
"""

from collections.abc import Iterator

import pytest

from tests.integration.faults.workers import audited_service, start_another
from tests.integration.service import Service


@pytest.fixture(scope="session")
def fragile() -> Iterator[Service]:
    """A service with a beat; at the end all its runs are accounted for."""
    with audited_service() as started:
        yield started


@pytest.fixture
def running(fragile: Service) -> Service:
    """The service with all its parts, whatever became of them in a test that failed."""
    if not fragile.is_running("redis"):
        fragile.start_redis()
    if not fragile.is_running("beat"):
        fragile.start_beat()
    return fragile


@pytest.fixture
def worker(running: Service) -> str:
    """The name of the one worker, which may be killed: the next test then gets another one."""
    alive = [name for name in running.processes if name.startswith("worker") and running.is_running(name)]
    return alive[0] if alive else start_another(running)
