"""The database is away in the middle of runs."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.faults import database_away, is_sqlite, sqlite_locked
from tests.integration.run_faults.workers import LEASE_SECONDS, when_begun
from tests.integration.saying import Say
from tests.integration.service import Service
from tests.integration.survival import call, output_of, traces, wait_for_end, wait_for_start, whats
from tests.waiting import wait_until


@contextmanager
def database_gone(running: Service) -> Iterator[None]:
    """On PostgreSQL no connection works, old or new, as while the server restarts; SQLite is locked."""
    with sqlite_locked(running) if is_sqlite(running) else database_away(running):
        yield


def test_a_run_goes_on_without_the_database_and_ends_properly(
    running: Service, worker: str, say: Say
) -> None:
    pk = call(running, "lasting", seconds=6)
    when_begun(running, pk)
    with database_gone(running):
        # An outage has a length.
        time.sleep(LEASE_SECONDS / 3)
    row = wait_for_end(running, pk)
    say(f"{row.status} after an outage of {LEASE_SECONDS / 3:.1f} s in its middle")
    assert (row.status, row.attempt) == ("succeeded", 1)
    assert (row.progress_total, output_of(running, pk)) == (60, "working on attempt 1\n")
    assert whats(running, pk) == ["begin", "end", "cleanup"]


def test_a_run_whose_end_falls_into_an_outage_is_recorded_when_it_is_over(
    running: Service, worker: str, say: Say
) -> None:
    pk = call(running, "lasting", seconds=2)
    when_begun(running, pk)
    with database_gone(running):
        wait_until(lambda: traces(running, pk, "cleanup"), what="the job has ended")
        time.sleep(LEASE_SECONDS / 4)
    begin = time.monotonic()
    row = wait_for_end(running, pk)
    say(f"{row.status}, {time.monotonic() - begin:.2f} s after the outage's end")
    assert (row.status, row.attempt, row.exit_code) == ("succeeded", 1, 0)


def test_a_worker_notices_a_killed_child_also_after_an_outage(running: Service, worker: str) -> None:
    # The loss of the first one makes the main process connect to the database.
    for outage in True, False:
        pk = call(running, "lasting", seconds=60)
        os.kill(wait_for_start(running, pk).pid, signal.SIGKILL)
        row = wait_for_end(running, pk)
        assert row.error.startswith("Its process died: ")
        if outage:
            with database_gone(running):
                time.sleep(0.5)
