"""Retries with a real worker: every attempt is kept."""

import re

from tests.integration.ledger import attempts_of, call, output_of, traces, wait_for_end
from tests.integration.service import Service


def test_a_failed_run_is_retried_and_each_attempt_is_kept(running: Service) -> None:
    pk = call(running, "restarting", seconds=0.1, fail_first=2, tenant="retries")
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt, row.error) == ("succeeded", 3, "")
    attempts = attempts_of(running, pk)
    assert [(each.number, each.status) for each in attempts] == [(1, "failed"), (2, "failed")]
    for each in attempts:
        assert re.fullmatch(rf"OSError: attempt {each.number} failed in process \d+", each.error)
    for number in 1, 2, 3:
        assert output_of(running, pk, attempt=number) == f"working on attempt {number}\n"
    assert [trace.attempt for trace in traces(running, pk, "begin")] == [1, 2, 3]


def test_a_run_that_fails_at_every_attempt_fails(running: Service) -> None:
    pk = call(running, "restarting", seconds=0.1, fail_first=9, tenant="hopeless")
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt, row.exit_code) == ("failed", 3, 1)
    assert row.error.startswith("OSError: attempt 3 failed")
    assert len(attempts_of(running, pk)) == 2
