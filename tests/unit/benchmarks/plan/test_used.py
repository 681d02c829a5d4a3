"""What a server has used is counted once, whichever of its processes end while it is read."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest

from benchmarks import services
from benchmarks.plan import used
from benchmarks.plan.used import Connection, Meter


class Server:
    """The first process of a server, one of whose others ends while it is read."""

    pid = 10

    def __init__(self) -> None:
        self.living = {11: 4.0, 12: 2.0}
        self.of_ended = 8.0
        self.ends: Iterator[int] = iter(())

    def children(self, recursive: bool) -> list[Any]:
        return [SimpleNamespace(pid=pid) for pid in self.living]

    def cpu_times(self) -> Any:
        return SimpleNamespace(children_user=self.of_ended, children_system=1.0)

    def seconds(self, pid: int) -> float:
        """Of all that live, just after one of them has ended."""
        assert pid == self.pid
        for ended in self.ends:
            self.of_ended += self.living.pop(ended)
            break
        return sum(self.living.values())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(used, "server_pid", lambda: server.pid)
    monkeypatch.setattr(psutil, "Process", lambda pid: server)
    monkeypatch.setattr(services, "cpu_seconds", server.seconds)
    return server


@pytest.mark.parametrize("ends", [(), (12,), (11, 12)])
def test_nothing_is_lost_of_a_process_that_ends_while_it_is_read(
    server: Server, ends: tuple[int, ...]
) -> None:
    server.ends = iter(ends)
    database = SimpleNamespace(execute=lambda statement: SimpleNamespace(fetchone=lambda: (1,)))
    assert Meter(cast(Connection, database)).now().database_ms == 15_000
