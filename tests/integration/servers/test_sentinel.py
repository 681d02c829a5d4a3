"""Redis dies, and its Sentinel promotes a replica: nothing is lost, and nothing runs twice."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.integration.schedules.beats import REPUBLISH, newer_slot, settled, this_second
from tests.integration.servers.sentinels import Sentinels, sentinels
from tests.integration.service import Service, service
from tests.integration.slots import SECOND, Span, newest_slot, perfect, schedule_every_second
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def made() -> Iterator[tuple[Service, Sentinels]]:
    with service(**REPUBLISH) as started, sentinels(started) as servers:
        started.variables.update(servers.variables)
        started.start_worker()
        started.start_beat()
        yield started, servers
        started.stop_all()


def test_slots_run_once_although_the_master_dies(made: tuple[Service, Sentinels]) -> None:
    running, servers = made
    schedule_every_second(running, "failover", count=3)
    wait_until(lambda: newest_slot(running, "failover"), what="a run succeeds")
    since = this_second() + SECOND  # when all of the schedules exist
    running.stop("master", signal.SIGKILL)
    begin = time.monotonic()
    wait_until(lambda: servers.master() == servers.second, what="the replica is the master")
    promoted = this_second()
    until = wait_until(lambda: newer_slot(running, "failover", promoted + SECOND), what="runs succeed again")
    span = Span(since=since, until=until)
    figures = settled(running, "failover", span)
    print(f"{figures}; over {time.monotonic() - begin:.1f} s after the master's death")
    assert figures == perfect(len(span) * 3)
    called = running.celery("call", "tasks_app.hello")
    assert "Hello!" in running.celery("result", called.stdout.strip()).stdout
