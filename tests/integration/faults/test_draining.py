"""A worker is drained while others go on, as before its node is taken away, or replaced by a new version."""

import pytest

from tests.integration.brokers import Redis
from tests.integration.faults import chaos, draining
from tests.integration.service import Service

pytestmark = pytest.mark.every_database


def test_what_waits_goes_to_another_worker_while_a_drained_one_finishes_what_it_has(
    running: Service, worker: str
) -> None:
    draining.drain_one_of_two(running, Redis(running), worker)


@pytest.mark.timeout(chaos.SECONDS + 900)
def test_workers_that_replace_each_other_under_load_lose_and_double_nothing(
    running: Service, worker: str
) -> None:
    draining.replace_under_load(running, worker)
