"""Memory limits with a real worker."""

from tests.integration.ledger import call, wait_for_end
from tests.integration.service import Service

LIMIT_BYTES = 200 * 1024 * 1024


def test_a_job_whose_subprocess_exceeds_the_memory_limit_fails(running: Service) -> None:
    row = wait_for_end(running, call(running, "allocating", megabytes=300, in_subprocess=True, seconds=600))
    assert (row.status, row.reason, row.exit_code) == ("failed", "memory_limit", 137)
    assert row.reason_details["limit_bytes"] == LIMIT_BYTES
    assert row.reason_details["used_bytes"] > LIMIT_BYTES


def test_a_job_that_goes_on_allocating_is_killed(running: Service) -> None:
    row = wait_for_end(running, call(running, "allocating", megabytes=1000, stubborn=True, seconds=600))
    assert (row.status, row.reason, row.exit_code) == ("failed", "memory_limit", 137)
    assert row.reason_details["killed_by"] == "itself"
