"""The database is unavailable in the middle of runs."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import UUID

import pytest

from tests.integration.database import (
    column_missing,
    database_away,
    database_hung,
    is_sqlite,
    postgres_read_only,
    sqlite_locked,
)
from tests.integration.faults.workers import LEASE_SECONDS, when_begun
from tests.integration.ledger import (
    call,
    call_lasting,
    let_end,
    output_of,
    traces,
    wait_for_end,
    wait_for_start,
    whats,
)
from tests.integration.processes import is_alive
from tests.integration.service import Service
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database


@contextmanager
def database_gone(running: Service) -> Iterator[None]:
    """PostgreSQL: all connections fail, as during a restart of the server. SQLite: the database is locked."""
    with sqlite_locked(running) if is_sqlite(running) else database_away(running):
        yield


def test_a_run_continues_without_the_database_and_ends_properly(running: Service, worker: str) -> None:
    pk = call_lasting(running, "lasting", steps=True)
    when_begun(running, pk)
    with database_gone(running):
        begin, done = time.monotonic(), len(traces(running, pk, "step"))
        wait_until(lambda: len(traces(running, pk, "step")) >= done + 20, what="the job continues")
        length = time.monotonic() - begin
    with let_end(running, "lasting"):
        row = wait_for_end(running, pk)
    steps = len(traces(running, pk, "step"))
    print(f"{row.status} after an outage of {length:.1f} s in its middle")
    assert (row.status, row.attempt) == ("succeeded", 1)
    assert (row.progress_total, output_of(running, pk)) == (6000, "working on attempt 1\n")
    assert whats(running, pk) == ["begin", *["step"] * steps, "end", "cleanup"]


def test_the_end_of_a_run_during_an_outage_is_recorded_afterwards(running: Service, worker: str) -> None:
    pk = call_lasting(running, "lasting")
    when_begun(running, pk)
    with database_gone(running), let_end(running, "lasting"):
        wait_until(lambda: traces(running, pk, "cleanup"), what="the job has ended")
        # With SQLite, it waits for the lock, and nothing is logged.
        wait_until(
            lambda: is_sqlite(running) or is_end_unrecorded(running, worker, pk),
            what="its end is not recorded",
        )
    begin = time.monotonic()
    row = wait_for_end(running, pk)
    print(f"{row.status}, {time.monotonic() - begin:.2f} s after the outage's end")
    assert (row.status, row.attempt, row.exit_code) == ("succeeded", 1, 0)


def is_end_unrecorded(running: Service, worker: str, pk: UUID) -> bool:
    """Whether the worker has logged that it could not record the run's end."""
    return f"Could not record the end of run {pk} of lasting yet" in running.log(worker)


def test_a_worker_notices_a_killed_child_even_after_an_outage(running: Service, worker: str) -> None:
    # The loss of the first child makes the main process connect to the database.
    for outage in True, False:
        pk = call(running, "lasting", seconds=60)
        os.kill(wait_for_start(running, pk).pid, signal.SIGKILL)
        row = wait_for_end(running, pk)
        assert (row.status, row.reason) == ("lost", "lost_process")
        if outage:
            with database_gone(running):
                pass  # closes all connections


def test_no_living_run_is_lost_in_an_outage_longer_than_the_lease(running: Service, worker: str) -> None:
    through, within = call_lasting(running, "restarting"), call_lasting(running, "lasting")
    for pk in through, within:
        wait_for_start(running, pk)
    with database_gone(running):
        begin = time.monotonic()
        with let_end(running, "lasting"):
            wait_until(lambda: traces(running, within, "cleanup"), what="a job ends")
        wait_until(lambda: time.monotonic() > begin + LEASE_SECONDS * 1.3, what="the leases have ended")
        assert not traces(running, through, "cleanup")
    with let_end(running, "restarting"):
        rows = [wait_for_end(running, pk) for pk in (through, within)]
    print(f"outage {LEASE_SECONDS * 1.3:.1f} s, lease {LEASE_SECONDS} s: {[row.status for row in rows]}")
    assert [(row.status, row.attempt) for row in rows] == [("succeeded", 1)] * 2


def test_time_limits_are_enforced_while_the_database_hangs(running: Service, worker: str) -> None:
    soft = call(running, "limited", seconds=60, tenant="soft")
    hard = call(running, "limited", seconds=60, tenant="hard", stubborn=True)
    process = wait_for_start(running, hard).pid
    wait_for_start(running, soft)
    begin = time.monotonic()
    with database_hung(running):
        wait_until(lambda: traces(running, soft, "cleanup"), what="the first job is interrupted")
        softly = time.monotonic() - begin
        wait_until(lambda: not is_alive(process), what="the second one is killed")
        killed = time.monotonic() - begin
    print(f"limit 5 s, grace 2 s, 5 s to record it: ended after {softly:.2f} s, killed after {killed:.2f} s")
    assert [wait_for_end(running, pk).status for pk in (soft, hard)] == ["timed_out"] * 2


def test_a_job_that_has_ended_in_time_has_succeeded_even_if_its_process_is_killed_in_an_outage(
    running: Service, worker: str
) -> None:
    """Celery's hard time limit goes on while the end of the run cannot be recorded."""
    pk = call_lasting(running, "limited")
    process = wait_for_start(running, pk).pid
    with database_gone(running), let_end(running, "limited"):
        wait_until(lambda: traces(running, pk, "cleanup"), what="the job has ended")
        wait_until(lambda: not is_alive(process), what="the worker has killed its process")
    row = wait_for_end(running, pk)
    assert (row.status, row.attempt, row.exit_code) == ("succeeded", 1, 0)
    assert whats(running, pk) == ["begin", "end", "cleanup"]


def test_a_call_received_without_a_database_is_executed_once_it_is_available(
    running: Service, worker: str
) -> None:
    before = running.log(worker).count("until the database is back")
    with database_away(running):
        pks = [call(running, "allowing", seconds=0.1) for _ in range(3)]
        wait_until(
            lambda: running.log(worker).count("until the database is back") >= before + 4,
            what="messages are redelivered",
        )
    begin = time.monotonic()
    ended = [wait_for_end(running, pk) for pk in pks]
    print(f"{[row.status for row in ended]}, {time.monotonic() - begin:.1f} s after the outage's end")
    assert [(row.status, row.trigger) for row in ended] == [("succeeded", "celery")] * 3
    assert [whats(running, pk) for pk in pks] == [["begin", "end", "cleanup"]] * 3


@pytest.mark.parametrize("refusing", [column_missing, postgres_read_only])
def test_writes_that_the_database_rejects_for_a_while_are_neither_lost_nor_repeated(
    running: Service, worker: str, refusing: Callable[[Service], AbstractContextManager[None]]
) -> None:
    if refusing is postgres_read_only and is_sqlite(running):
        pytest.skip("SQLite has no standby")
    before = running.log(worker).count("until the database is back")
    ending = call_lasting(running, "restarting")
    when_begun(running, ending)
    with refusing(running), let_end(running, "restarting"):
        calls = [call(running, "allowing", seconds=0.1) for _ in range(2)]
        unrecorded = f"Could not record the end of run {ending} of restarting yet"
        wait_until(lambda: unrecorded in running.log(worker), what="the end is not recorded")
        wait_until(
            lambda: running.log(worker).count("until the database is back") > before, what="calls wait"
        )
    ended = [wait_for_end(running, pk) for pk in (ending, *calls)]
    assert [(row.status, row.attempt) for row in ended] == [("succeeded", 1)] * 3
    assert [whats(running, pk) for pk in calls] == [["begin", "end", "cleanup"]] * 2
