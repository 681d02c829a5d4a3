"""Jobs that are too busy to look up keep their lease; one that lets nothing else run does not."""

from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from tests.integration.command_line import by_hand, run_by_hand
from tests.integration.database import is_sqlite
from tests.integration.faults.workers import LEASE_SECONDS, seconds_between, when_begun
from tests.integration.ledger import call, run_row, wait_for_end, whats
from tests.integration.service import Service
from tests.waiting import wait_until

LONGER_THAN_THE_LEASE = LEASE_SECONDS * 1.4


def is_renewed(running: Service, pk: UUID) -> bool:
    """Whether the run continues although the lease that it began with is over."""
    row = run_row(running, pk)
    assert row
    assert row.status == "running"
    return seconds_between(row.started_at, row.heartbeat_at) > LEASE_SECONDS


def test_jobs_that_compute_without_a_pause_keep_their_lease(running: Service, worker: str) -> None:
    # As many as the worker executes at once.
    pks = [call(running, "allowing", seconds=LONGER_THAN_THE_LEASE, busy=True) for _ in range(2)]
    for pk in pks:
        when_begun(running, pk)
    for pk in pks:
        wait_until(partial(is_renewed, running, pk), what="the lease is renewed")
    assert [wait_for_end(running, pk).status for pk in pks] == ["succeeded"] * 2


def test_a_job_in_one_long_transaction_is_not_taken_for_lost(running: Service, worker: str) -> None:
    pk = call(running, "lasting", seconds=LONGER_THAN_THE_LEASE, in_transaction=True)
    when_begun(running, pk)
    # In SQLite nobody else can write meanwhile, neither its heartbeat nor whoever would take it for lost.
    if not is_sqlite(running):
        wait_until(partial(is_renewed, running, pk), what="the lease is renewed")
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt) == ("succeeded", 1)
    assert seconds_between(row.started_at, row.finished_at) > LEASE_SECONDS
    assert whats(running, pk) == ["begin", "end", "cleanup"]


def test_a_run_by_hand_that_is_stuck_in_c_code_is_given_up(running: Service) -> None:
    hand = by_hand(running, "limited", "--tenant", "C by hand", "--hold-gil")
    try:
        pk = run_by_hand(running, "limited")
        row = wait_for_end(running, pk)
        assert row.status in ("lost", "timed_out")
        assert seconds_between(row.started_at, datetime.now(UTC)) > LEASE_SECONDS
        assert hand.poll() is None
    finally:
        # Nothing inside it can.
        hand.kill()
        hand.communicate()
