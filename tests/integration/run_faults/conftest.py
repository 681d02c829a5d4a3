"""One service for all tests of this folder, whose parts die, hang and come back in the middle of runs.

None of its runs may be lost in silence, none executed twice unless its job bears that.
"""

from collections.abc import Iterator

import pytest

from tests.integration.run_faults.workers import audited_service, start_another
from tests.integration.saying import Say
from tests.integration.service import Service


@pytest.fixture(scope="package")
def running(say_always: Say) -> Iterator[Service]:
    """A service with a beat; at the end all its runs are accounted for."""
    with audited_service(say_always) as started:
        yield started


@pytest.fixture
def worker(running: Service) -> str:
    """The name of the one worker, which may be killed: the next test then gets another one."""
    alive = [name for name in running.processes if name.startswith("worker") and running.is_running(name)]
    return alive[0] if alive else start_another(running)
