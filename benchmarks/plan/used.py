"""What a service's processes and its database's server have used, and what is measured inside the service."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from subprocess import PIPE, Popen
from typing import Any, LiteralString, Self
from urllib.parse import SplitResult, urlsplit

import psutil
import psycopg

from benchmarks import services
from benchmarks.plan.inside import READY
from tests.integration.service import ROOT, Service
from tests.with_postgres import address_of

Connection = psycopg.Connection[tuple[Any, ...]]

WAL = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
NO_AUTOVACUUM = "autovacuum=off"
"""What the server otherwise logs at any moment, about its statistics, is more than 50 slots take."""
STATEMENT_SECONDS = 60
DOCKER_SECONDS = 30
PART_SECONDS = 300
"""How long a part that is in the service may prepare itself, and then take."""


@dataclass(frozen=True, kw_only=True)
class Used:
    """What was used until a moment, or between two of them."""

    seconds: float = 0.0
    """Of the clock."""
    own_ms: float = 0.0
    """CPU time of processes of the service."""
    database_ms: float = 0.0
    wal_bytes: float = 0.0

    def __sub__(self, other: Self) -> "Used":
        """What was used since the other moment."""
        return Used(
            seconds=self.seconds - other.seconds,
            own_ms=self.own_ms - other.own_ms,
            database_ms=self.database_ms - other.database_ms,
            wal_bytes=self.wal_bytes - other.wal_bytes,
        )

    def times(self, number: float) -> "Used":
        return Used(
            seconds=self.seconds * number,
            own_ms=self.own_ms * number,
            database_ms=self.database_ms * number,
            wal_bytes=self.wal_bytes * number,
        )

    def beyond(self, second: "Used") -> "Used":
        """What was not used in each second anyway."""
        rest = self - second.times(self.seconds)
        return Used(
            seconds=self.seconds,
            own_ms=max(rest.own_ms, 0),
            database_ms=max(rest.database_ms, 0),
            wal_bytes=max(rest.wal_bytes, 0),
        )


class Meter:
    """Reads what has been used, through a connection that stays open: a new one costs more than much else."""

    def __init__(self, connection: Connection) -> None:
        """Raises RuntimeError if the server's container cannot be found."""
        self._connection, self._server = connection, psutil.Process(server_pid())

    def now(self, *pids: int) -> Used:
        """Since they were started: these processes of the service with their children, and the server."""
        return Used(
            seconds=self.value("SELECT extract(epoch FROM clock_timestamp())"),
            own_ms=sum(map(services.cpu_seconds, pids)) * 1000,
            database_ms=self._database_seconds() * 1000,
            wal_bytes=self.value(WAL),
        )

    def _database_seconds(self) -> float:
        """Of the server's processes, with those that have ended.

        Read again if one ends meanwhile, which would be counted twice or not at all.
        """
        ended = self._ended()
        while True:
            living, before = services.cpu_seconds(self._server.pid), ended
            if (ended := self._ended()) == before:
                return living + sum(ended[1])

    def _ended(self) -> tuple[set[int], tuple[float, float]]:
        """The processes that have not ended, and what the others have used."""
        times = self._server.cpu_times()
        living = {each.pid for each in self._server.children(recursive=True)}
        return living, (times.children_user, times.children_system)

    def value(self, statement: LiteralString) -> float:
        """The only value of a query."""
        row = self._connection.execute(statement).fetchone()
        assert row, f"{statement} has found nothing"
        return float(row[0] or 0)

    def counts(self, statement: LiteralString) -> dict[str, int]:
        """The numbers by name."""
        return {str(name): int(number) for name, number in self._connection.execute(statement)}

    def forget_runs(self) -> None:
        """Delete all: beat publishes those that no worker has claimed again, and writes that down."""
        self._connection.execute("TRUNCATE jobledger_run CASCADE")

    def vacuum(self) -> None:
        """Now: with ``NO_AUTOVACUUM``, the server does not do it while something is measured."""
        self._connection.execute("VACUUM ANALYZE")


@contextmanager
def meter_of(running: Service) -> Iterator[Meter]:
    """A meter none of whose statements waits for longer than ``STATEMENT_SECONDS``."""
    options = f"-c statement_timeout={STATEMENT_SECONDS}s"
    with psycopg.connect(running.database_url, autocommit=True, options=options) as connection:
        yield Meter(connection)


@contextmanager
def prepared(running: Service, *arguments: str) -> Iterator[Callable[[], float]]:
    """A part that is in the service, once it is ready.

    The value makes it begin, and returns the seconds of CPU time that it took. It stays connected until the
    block ends: what ended processes of the server have used is known in ticks only. Raises TimeoutError if it
    is not ready or not done in time, and RuntimeError if it fails; its traceback is on stderr.
    """
    command = (sys.executable, "-m", "benchmarks.plan.inside", *arguments)
    with Popen(command, cwd=ROOT, env=running.environment, stdin=PIPE, stdout=PIPE) as process:
        try:
            _await_ready(process, " ".join(arguments))
            yield partial(_do, process, " ".join(arguments))
        finally:
            process.kill()


def _await_ready(process: "Popen[bytes]", what: str) -> None:
    if (line := _line_of(process, f"“{what}” was not ready")) != READY:
        raise RuntimeError(f"“{what}” printed “{line}” and ended with {process.wait(PART_SECONDS)}")


def _do(process: "Popen[bytes]", what: str) -> float:
    assert process.stdin
    process.stdin.write(b"\n")
    process.stdin.flush()
    if not (line := _line_of(process, f"“{what}” was not done")):
        raise RuntimeError(f"“{what}” has ended with {process.wait(PART_SECONDS)}")
    return float(json.loads(line)["seconds"])


def _line_of(process: "Popen[bytes]", late: str) -> str:
    assert process.stdout
    if not select.select([process.stdout], [], [], PART_SECONDS)[0]:
        raise TimeoutError(f"{late} within {PART_SECONDS} s")
    return process.stdout.readline().decode().strip()


def server_pid() -> int:
    """Of the server in the container that ``DATABASE_URL`` leads to. Raises RuntimeError without one."""
    url = urlsplit(os.environ["DATABASE_URL"])
    found = _containers_at(url)
    if len(found) != 1:
        raise RuntimeError(
            f"{len(found)} containers have a server at {url.netloc.rpartition('@')[2]}, not one"
        )
    return int(_docker("inspect", "--format", "{{.State.Pid}}", found[0]))


def _containers_at(url: SplitResult) -> list[str]:
    """Those that publish its port, or have its address."""
    if url.hostname == "127.0.0.1":
        return _docker("ps", "--quiet", "--filter", f"publish={url.port}").split()
    return [each for each in _docker("ps", "--quiet").split() if address_of(each) == url.hostname]


def _docker(*arguments: str) -> str:
    done = subprocess.run(
        ("docker", *arguments), check=True, capture_output=True, text=True, timeout=DOCKER_SECONDS
    )
    return done.stdout.strip()
