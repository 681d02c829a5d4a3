"""A PostgreSQL server dies under load: nothing is lost, nothing is done twice, and all processes go on."""

import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import pytest

from tests.e2e.containers.standby import Servers, replicated
from tests.integration.database import crash_postgres
from tests.integration.faults.workers import QUICK, when_begun
from tests.integration.ledger import RunRow, call, call_lasting, enqueue, let_end, wait_for_end, whats
from tests.integration.schedules.beats import newer_slot, settled, this_second
from tests.integration.service import Service, service
from tests.integration.slots import (
    SECOND,
    Span,
    newest_slot,
    perfect,
    schedule_every_second,
    switch_everything_off,
)
from tests.ports import free_port
from tests.waiting import wait_until

SCHEDULES, BACKLOG = 3, 40
DOWN, BACK = "Waiting for the database", "The database is back"


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Service, Servers]]:
    """A service that uses both servers, with a worker of each kind and a web server."""
    with replicated() as servers, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", servers.url)
        with service(**{**QUICK, "WORKER_CONCURRENCY": "3"}, PORT=str(free_port())) as running:
            running.start_beat()
            flags = ("--bind", f"127.0.0.1:{running.variables['PORT']}", "--no-control-socket")
            running.start("web", sys.executable, "-m", "gunicorn", "proj.wsgi", *flags)
            running.start_worker("prefork")
            running.start_worker("threads", "--pool", "threads")
            yield running, servers


def test_a_failover_under_load_loses_and_doubles_nothing(made: tuple[Service, Servers]) -> None:
    running, servers = made
    schedule_every_second(running, "failover", count=SCHEDULES)
    wait_until(lambda: newest_slot(running, "failover"), what="a run succeeds")
    since = this_second() + SECOND  # when all of the schedules exist
    lasting = lasting_runs(running)
    others = enqueue(running, "allowing", count=BACKLOG, seconds=0)
    outages = running.log("beat").count(DOWN)
    servers.kill_in_the_middle_of_commits(4)
    begin = time.monotonic()
    wait_until(lambda: running.log("beat").count(DOWN) > outages, what="beat notices")
    others += [call(running, "allowing", seconds=0) for _ in range(2)]
    servers.promote()
    promoted = this_second()
    until = wait_until(lambda: newer_slot(running, "failover", promoted + SECOND), what="runs succeed again")
    with let_end(running, "allowing"):
        rows = [wait_for_end(running, pk) for pk in (*lasting, *others)]
    span = Span(since=since, until=until)
    figures = settled(running, "failover", span)
    switch_everything_off(running)
    print(f"{figures}; all over {time.monotonic() - begin:.1f} s after the server's death")
    assert figures == perfect(len(span) * SCHEDULES)
    assert_executed_once(running, rows)
    assert_all_go_on(running)


def test_a_crash_of_the_server_loses_and_doubles_nothing(made: tuple[Service, Servers]) -> None:
    running, _ = made
    lasting = lasting_runs(running)
    waiting = enqueue(running, "allowing", count=5, seconds=0.1)
    crash_postgres(running)
    with let_end(running, "allowing"):
        rows = [wait_for_end(running, pk) for pk in (*lasting, *waiting)]
    assert_executed_once(running, rows)
    assert_all_go_on(running)


def lasting_runs(running: Service) -> list[UUID]:
    """Runs whose job is working, until it is let end."""
    pks = [call_lasting(running, "allowing") for _ in range(2)]
    for pk in pks:
        when_begun(running, pk)
    return pks


def assert_executed_once(running: Service, rows: list[RunRow]) -> None:
    assert Counter((row.status, row.reason, row.attempt) for row in rows) == {("succeeded", "", 1): len(rows)}
    assert {tuple(whats(running, row.pk)) for row in rows} == {("begin", "end", "cleanup")}


def assert_all_go_on(running: Service) -> None:
    """No process has ended, and the service says that jobs can start."""
    wait_until(
        lambda: running.log("beat").count(BACK) == running.log("beat").count(DOWN), what="beat goes on"
    )
    wait_until(lambda: is_ready(running), what="the service is ready")
    assert [name for name in running.processes if not running.is_running(name)] == []


def is_ready(running: Service) -> bool:
    try:
        address = f"http://127.0.0.1:{running.variables['PORT']}/readyz"
        with urllib.request.urlopen(address, timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
