"""Commits wait for a standby, and nobody hears of them: no run is executed twice, none is left running."""

import os
import re
import signal
import sys
from collections.abc import Iterator

import psutil
import psycopg
import pytest

from tests.e2e.containers.standby import Servers, replicated
from tests.integration.database import rows
from tests.integration.faults.workers import QUICK
from tests.integration.ledger import enqueue, wait_for_end, whats
from tests.integration.service import Service, service
from tests.waiting import DEADLINE_SECONDS, wait_until
from tests.with_postgres import docker


@pytest.fixture
def made() -> Iterator[tuple[Service, Servers]]:
    """A service that uses both servers, without a worker or a beat, which would write to the same runs."""
    with replicated() as servers, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", servers.url)
        with service(**{**QUICK, "LEASE_SECONDS": "60"}) as running:
            yield running, servers


def wait_for_waiting(servers: Servers, statement: str, count: int) -> None:
    """Until so many commits of such a statement wait for the standby."""
    with psycopg.connect(
        f"postgres://postgres:test@127.0.0.1:{servers.ports[0]}/postgres", autocommit=True
    ) as server:
        waiting = "SELECT query FROM pg_stat_activity WHERE wait_event = 'SyncRep'"

        def found() -> bool:
            queries = [query for (query,) in server.execute(waiting)]
            return sum(bool(re.search(statement, query)) for query in queries) >= count

        wait_until(found, what=f"{count} commits of {statement} wait")


def test_a_run_whose_child_dies_before_it_knows_that_it_has_claimed_it_is_executed_once(
    made: tuple[Service, Servers],
) -> None:
    running, servers = made
    pks = enqueue(running, "allowing", count=2, seconds=0)
    with servers.standby_paused():
        running.start_worker("prefork")
        wait_for_waiting(servers, '^UPDATE "jobledger_run" SET', 2)
        for child in psutil.Process(running.processes["prefork"].pid).children():
            os.kill(child.pid, signal.SIGKILL)
    running.start_beat()
    found = [wait_for_end(running, pk) for pk in pks]
    assert [(row.status, row.attempt) for row in found] == [("succeeded", 1)] * 2
    assert [whats(running, pk) for pk in pks] == [["begin", "end", "cleanup"]] * 2


def test_a_job_on_the_command_line_is_recorded_once_if_the_server_dies_before_it_has_answered(
    made: tuple[Service, Servers],
) -> None:
    running, servers = made
    with servers.standby_paused():
        for name in ("one", "another"):
            running.start(name, sys.executable, "manage.py", "allowing", "--seconds", "0")
        wait_for_waiting(servers, "^COMMIT", 2)
        docker("kill", servers.primary)
    servers.promote()
    codes = [running.processes[name].wait(DEADLINE_SECONDS) for name in ("one", "another")]
    logs = [running.log(name) for name in ("one", "another")]
    found = rows(running, "SELECT status, attempt FROM jobledger_run WHERE job = 'allowing'")
    assert (codes, found) == ([0, 0], [("succeeded", 1)] * 2), logs
    assert not [log for log in logs if "recorded" in log]
