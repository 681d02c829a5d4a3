"""Everything is killed at random."""

import pytest

from tests.integration.brokers import Redis
from tests.integration.faults import chaos
from tests.integration.service import Service

pytestmark = pytest.mark.every_database


@pytest.mark.timeout(chaos.SECONDS + 900)
def test_all_runs_are_accounted_for_when_children_workers_and_redis_are_killed_at_random(
    running: Service, worker: str
) -> None:
    chaos.account_for_all_runs(running, Redis(running), worker)
