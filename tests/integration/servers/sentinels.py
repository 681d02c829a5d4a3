"""A Redis server, a replica of it, and a Sentinel that promotes the replica when the server dies."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from proj.embedded_redis import command
from tests.integration.service import Service
from tests.ports import free_port
from tests.waiting import wait_until

PASSWORD, SENTINEL_PASSWORD = "only-for-redis", "only-for-sentinel"
MASTER = "jobs-master"


@dataclass(frozen=True, kw_only=True)
class Sentinels:
    """The ports of the two servers and of the Sentinel that watches them."""

    running: Service
    first: int
    second: int
    sentinel: int

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a service that uses them. Nothing listens on the first port."""
        hosts = f"127.0.0.1:{free_port()};sentinel://127.0.0.1:{self.sentinel}"
        return {
            "REDIS_URL": f"sentinel://:{PASSWORD}@{hosts}/1",
            "REDIS_SENTINEL_MASTER": MASTER,
            "REDIS_SENTINEL_PASSWORD": SENTINEL_PASSWORD,
        }

    def master(self) -> int:
        """The port of the server that the Sentinel names."""
        with redis.Redis(port=self.sentinel, password=SENTINEL_PASSWORD) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)[1])

    def cut_off_replica(self) -> None:
        """From now on, the replica learns nothing."""
        self.running.processes["replica"].send_signal(signal.SIGSTOP)
        with redis.Redis(port=self.first, password=PASSWORD) as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")

    def let_replica_go_on(self) -> None:
        self.running.processes["replica"].send_signal(signal.SIGCONT)


@contextmanager
def sentinels(running: Service) -> Iterator[Sentinels]:
    """Start them as processes of the service, named ``master``, ``replica`` and ``sentinel``."""
    folder = Path(tempfile.mkdtemp(prefix="jobs-sentinel-"))
    ports = Sentinels(running=running, first=free_port(), second=free_port(), sentinel=free_port())
    try:
        _start(running, "master", folder, ports.first)
        wait_until(lambda: _answers(ports.first, PASSWORD), what="the first server answers")
        _start(running, "replica", folder, ports.second, "--replicaof", f"127.0.0.1 {ports.first}")
        wait_until(lambda: _has_replica(ports.first), what="the replica is connected")
        file = folder / "sentinel.conf"
        file.write_text(_configuration(ports, folder))
        running.start("sentinel", command(folder / "unused", folder / "unused")[0], str(file), "--sentinel")
        wait_until(lambda: _knows_replica(ports), what="the Sentinel knows the replica")
        yield ports
    finally:
        shutil.rmtree(folder)


def _configuration(ports: Sentinels, folder: Path) -> str:
    return f"""\
port {ports.sentinel}
bind 127.0.0.1
dir {folder}
requirepass {SENTINEL_PASSWORD}
sentinel monitor {MASTER} 127.0.0.1 {ports.first} 1
sentinel auth-pass {MASTER} {PASSWORD}
sentinel down-after-milliseconds {MASTER} 500
sentinel failover-timeout {MASTER} 2000
"""


def _start(running: Service, name: str, folder: Path, port: int, *more: str) -> None:
    program, *options = command(folder / f"{name}.sock", folder / name)
    password = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    # By default, a replica is made to wait for others that may want the same data.
    address = ("--bind", "127.0.0.1", "--port", str(port), "--repl-diskless-sync-delay", "0")
    running.start(name, program, *options, *address, *password, *more)


def _answers(port: int, password: str) -> bool:
    try:
        with redis.Redis(port=port, password=password) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _has_replica(port: int) -> bool:
    with redis.Redis(port=port, password=PASSWORD) as client:
        return "online" in str(client.info("replication").get("slave0"))


def _knows_replica(ports: Sentinels) -> bool:
    if not _answers(ports.sentinel, SENTINEL_PASSWORD):
        return False
    with redis.Redis(port=ports.sentinel, password=SENTINEL_PASSWORD) as client:
        return bool(dict(client.info("sentinel")["master0"]).get("slaves") == 1)
