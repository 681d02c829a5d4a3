"""The threads that a job starts in a worker with threads are its own, as in any other worker."""

import pytest

from tests.integration.database import is_sqlite
from tests.integration.ledger import call, run_row, traces, wait_for_end
from tests.integration.service import Service
from tests.integration.threads.workers import end_file, lines_of, open_connections
from tests.waiting import wait_until

pytestmark = pytest.mark.every_database

THREADS_OF_JOB = 30
MAX_OTHERS = 14
"""Connections of the worker, of beat and of this test."""


def test_the_run_lasts_until_they_have_ended(running: Service, worker: str) -> None:
    with end_file(running, "late thread may end") as go:
        pk = call(running, "threaded", until=str(go))
        wait_until(lambda: traces(running, pk, "returned"), what="the job has returned")
        overlapping = wait_for_end(running, call(running, "threaded"))
        assert (overlapping.status, overlapping.reason) == ("skipped", "overlap")
        row = run_row(running, pk)
        assert row is not None
        assert row.status == "running"
    assert wait_for_end(running, pk).status == "succeeded"
    assert lines_of(running, pk) == ["by a late thread"]


def test_they_leave_no_connection_open(running: Service, worker: str) -> None:
    if is_sqlite(running):
        pytest.skip("SQLite has no limit of connections, and does not list them")
    assert wait_for_end(running, call(running, "threaded", queries=THREADS_OF_JOB)).status == "succeeded"
    # A server process ends a moment after its connection.
    wait_until(lambda: open_connections(running) <= MAX_OTHERS, what="their connections are closed")


def test_what_they_raise_is_on_the_run_and_nowhere_else(running: Service, worker: str) -> None:
    pk = call(running, "threaded", fail="no such shelf")
    assert wait_for_end(running, pk).status == "succeeded"
    lines = lines_of(running, pk)
    assert lines[0].startswith("Exception in thread ")
    assert lines[-1] == "LookupError: no such shelf"
    assert "LookupError" not in running.log(worker)


def test_an_idle_executor_does_not_keep_the_worker_from_calling_atexit(running: Service, worker: str) -> None:
    file = running.folder / "at exit"
    wait_for_end(running, call(running, "threaded", at_exit=str(file)))
    assert running.stop(worker) == 0
    assert file.read_text() == "exited"
