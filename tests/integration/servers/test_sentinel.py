"""Redis dies, and its Sentinel promotes a replica: nothing is lost, and nothing runs twice."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.integration.ledger import (
    enqueue,
    let_end,
    traces,
    until_let_end,
    wait_for_end,
    wait_for_start,
    whats,
)
from tests.integration.processes import suspended
from tests.integration.schedules.beats import REPUBLISH, newer_slot, settled, this_second
from tests.integration.servers.sentinels import Sentinels, sentinels
from tests.integration.service import Service, service
from tests.integration.slots import SECOND, Span, newest_slot, perfect, schedule_every_second
from tests.waiting import wait_until

WAITING = 20


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Service, Sentinels]]:
    with service(**REPUBLISH) as started, sentinels(started) as servers:
        started.variables.update(servers.variables)
        started.start_worker()
        started.start_beat()
        yield started, servers
        started.stop_all()


def test_a_failover_under_load_loses_and_doubles_nothing(made: tuple[Service, Sentinels]) -> None:
    running, servers = made
    schedule_every_second(running, "failover", count=3)
    wait_until(lambda: newest_slot(running, "failover"), what="a run succeeds")
    since = this_second() + SECOND  # when all of the schedules exist
    (lasting,) = enqueue(running, "allowing", **until_let_end(running, "allowing"))
    wait_for_start(running, lasting)
    servers.cut_off_replica()
    # The replica knows neither of these messages nor of those that are acknowledged from now on.
    others = enqueue(running, "allowing", count=WAITING, seconds=0.1)
    wait_until(lambda: traces(running, others[0], "begin"), what="they are being executed")
    # However fast it is, the worker takes no more than one of these from the master.
    with suspended(running, "worker"):
        others += enqueue(running, "allowing", count=2, seconds=0.1)
        running.stop("master", signal.SIGKILL)
    begin = time.monotonic()
    others += enqueue(running, "allowing", count=2, seconds=0.1)
    servers.let_replica_go_on()
    wait_until(lambda: servers.master() == servers.second, what="the replica is the master")
    promoted = this_second()
    until = wait_until(lambda: newer_slot(running, "failover", promoted + SECOND), what="runs succeed again")
    with let_end(running, "allowing"):
        rows = [wait_for_end(running, pk) for pk in (lasting, *others)]
    span = Span(since=since, until=until)
    figures = settled(running, "failover", span)
    print(f"{figures}; over {time.monotonic() - begin:.1f} s after the master's death")
    assert figures == perfect(len(span) * 3)
    assert {(row.status, row.attempt, *whats(running, row.pk)) for row in rows} == {
        ("succeeded", 1, "begin", "end", "cleanup")
    }
    assert any(row.publish_count > 1 for row in rows), "no message was lost with the master"
    called = running.celery("call", "tasks_app.hello")
    assert "Hello!" in running.celery("result", called.stdout.strip()).stdout
