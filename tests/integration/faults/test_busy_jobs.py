"""Busy jobs keep their lease, except one that prevents all other threads from running."""

from datetime import UTC, datetime
from functools import partial
from uuid import UUID

from tests.integration.command_line import from_command_line, run_from_command_line
from tests.integration.database import is_sqlite
from tests.integration.faults.workers import LEASE_SECONDS, seconds_between, when_begun
from tests.integration.ledger import call, run_row, wait_for_end, whats
from tests.integration.service import Service
from tests.waiting import wait_until

LONGER_THAN_THE_LEASE = LEASE_SECONDS * 1.4


def is_renewed(running: Service, pk: UUID) -> bool:
    """Whether the run continues although its initial lease has ended."""
    row = run_row(running, pk)
    assert row
    is_renewed = seconds_between(row.started_at, row.heartbeat_at) > LEASE_SECONDS
    # It may have ended since, on a busy machine.
    assert is_renewed or row.status == "running"
    return is_renewed


def test_jobs_that_compute_without_pause_keep_their_lease(running: Service, worker: str) -> None:
    # As many as the worker executes at the same time.
    pks = [call(running, "allowing", seconds=LONGER_THAN_THE_LEASE, busy=True) for _ in range(2)]
    for pk in pks:
        when_begun(running, pk)
    for pk in pks:
        wait_until(partial(is_renewed, running, pk), what="the lease is renewed")
    assert [wait_for_end(running, pk).status for pk in pks] == ["succeeded"] * 2


def test_a_job_in_a_single_long_transaction_is_not_lost(running: Service, worker: str) -> None:
    pk = call(running, "lasting", seconds=LONGER_THAN_THE_LEASE, in_transaction=True)
    when_begun(running, pk)
    # With SQLite, nothing else can write in the meantime: neither its heartbeat nor the rescue of lost runs.
    if not is_sqlite(running):
        wait_until(partial(is_renewed, running, pk), what="the lease is renewed")
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt) == ("succeeded", 1)
    assert seconds_between(row.started_at, row.finished_at) > LEASE_SECONDS
    assert whats(running, pk) == ["begin", "end", "cleanup"]


def test_a_run_from_the_command_line_that_is_stuck_in_c_code_is_lost(running: Service) -> None:
    command = from_command_line(running, "lasting", "--tenant", "C by command", "--hold-gil")
    try:
        pk = run_from_command_line(running, "lasting")
        row = wait_for_end(running, pk)
        assert row.status == "lost"
        assert seconds_between(row.started_at, datetime.now(UTC)) > LEASE_SECONDS
        assert command.poll() is None
    finally:
        # Nothing inside the process can kill it.
        command.kill()
        command.communicate()
