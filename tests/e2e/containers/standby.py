"""A PostgreSQL server and a synchronous standby of it, which takes its place when the server is killed."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.waiting import wait_until
from tests.with_postgres import DATA, IMAGE, TO_FORGET, answers, docker, port_of, postgres_container

IN_STANDBY = "/primary"
"""The folder of the first server's socket, over which the standby reads what it writes."""
COPY = f"{DATA}/copy"


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The first server, to be killed, and its standby."""

    primary: str
    standby: str
    """The containers' ids."""
    ports: tuple[int, int]

    @property
    def url(self) -> str:
        """Where clients find the one of the two that accepts writes."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"postgres://postgres:test@{hosts}/postgres?target_session_attrs=read-write"

    def kill_in_the_middle_of_commits(self, count: int) -> None:
        """Kill all processes of the first server at once, as by a power failure of its machine.

        So many clients are waiting for an answer to their commit, which they never get, although the standby
        has all that they have committed.
        """
        with self.standby_paused():
            with _connected(self.ports[0]) as server:
                waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep' OFFSET %s"
                wait_until(
                    lambda: server.execute(waiting, [count - 1]).fetchone(), what="commits are waiting"
                )
            docker("kill", self.primary)

    @contextmanager
    def standby_paused(self) -> Iterator[None]:
        """In the block, each commit waits.

        It is one process that is stopped: to pause a container, the kernel has to catch all of its processes
        at the same moment, which fails now and then on a busy machine.
        """
        with _connected(self.ports[1]) as server:
            ((receiver,),) = server.execute("SELECT pid FROM pg_stat_wal_receiver").fetchall()
        in_standby = ("exec", "--user", "postgres", self.standby, "bash", "-c")
        docker(*in_standby, f"kill -STOP {receiver}")
        try:
            yield
        finally:
            # It may have ended.
            docker(*in_standby, f"kill -CONT {receiver} || true")

    def promote(self) -> None:
        """Make the standby accept writes."""
        with _connected(self.ports[1]) as server:
            server.execute("SELECT pg_promote()")


@contextmanager
def replicated() -> Iterator[Servers]:
    """Start both. A commit is reported once the standby has it; afterwards, they are removed."""
    # The container takes the folder over, which only root can remove then.
    made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with made as folder:
        Path(folder).chmod(0o777)
        with postgres_container("synchronous_commit=on", socket_folder=Path(folder)) as primary:
            port = port_of(primary)
            wait_until(lambda: answers(_url(port)), what="the first server answers")
            with _standby(Path(folder)) as standby:
                ports = (port, port_of(standby))
                wait_until(lambda: answers(_url(ports[1])), what="the standby answers")
                _wait_for_standby(port)
                yield Servers(primary=primary, standby=standby, ports=ports)


@contextmanager
def _standby(folder: Path) -> Iterator[str]:
    settings = " ".join(f"-c '{setting}'" for setting in ("listen_addresses=*", *TO_FORGET))
    script = f"""\
pg_basebackup --host {IN_STANDBY} --username postgres --pgdata {COPY} --checkpoint fast --write-recovery-conf
exec postgres -D {COPY} {settings}
"""
    started = docker(
        *("run", "--detach", "--rm", "--publish", "127.0.0.1::5432", "--tmpfs", DATA),
        *("--volume", f"{folder}:{IN_STANDBY}", "--user", "postgres", "--entrypoint", "bash"),
        *(IMAGE, "-e", "-c", script),
    )
    try:
        yield started
    finally:
        docker("rm", "--force", "--volumes", started)


def _wait_for_standby(port: int) -> None:
    """From now on, the first server waits for the standby at each commit."""
    with _connected(port) as server:
        server.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        server.execute("SELECT pg_reload_conf()")
        states = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        wait_until(lambda: server.execute(states).fetchone(), what="the standby is synchronous")


def _connected(port: int) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(_url(port), autocommit=True)


def _url(port: int) -> str:
    return f"postgres://postgres:test@127.0.0.1:{port}/postgres"
