"""A service whose beat, Redis and database die, hang and come back, for all tests in this directory."""

from collections.abc import Iterator

import pytest

from tests.integration.schedules.beats import REPUBLISH
from tests.integration.service import Service, service
from tests.integration.slots import switch_everything_off


@pytest.fixture(scope="session")
def service_without_beat() -> Iterator[Service]:
    with service(**REPUBLISH) as started:
        started.start_worker()
        yield started


@pytest.fixture
def running(service_without_beat: Service) -> Iterator[Service]:
    """A service with one worker and no beat, in which nothing is scheduled."""
    running = service_without_beat
    yield running
    for name in [name for name in running.processes if name.startswith("beat")]:
        running.stop(name)
    if not running.is_running("redis"):
        running.start_redis()
    switch_everything_off(running)
    running.forget_messages()
