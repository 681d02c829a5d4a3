"""The Compose stack of a soak, with the tests' jobs, and what its processes need."""

import subprocess
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.containers.compose import Stack

SAMPLE_SECONDS = 10.0
SETTINGS = {
    "HEARTBEAT_SECONDS": "1",
    "LEASE_SECONDS": "15",
    "REPUBLISH_AFTER_SECONDS": "5",
    "VISIBILITY_TIMEOUT": "30",
    "WORKER_CONCURRENCY": "4",
    "ALERT_WAIT_SECONDS": "2",
    "ALERT_INTERVAL_SECONDS": "10",
    "BASE_URL": "http://localhost:8000",
}
"""Impatient, so that much happens in little time."""


@dataclass(frozen=True, kw_only=True)
class Process:
    pid: int
    """On this machine."""
    rss: int


@dataclass(frozen=True, kw_only=True)
class SoakStack(Stack):
    """The service as its users run it, and a receiver of alerts."""

    traces: Path
    db_port: int

    @property
    def environment(self) -> dict[str, str]:
        files = {"COMPOSE_FILE": "docker-compose.yml:benchmarks/soak/compose.yml"}
        own = {"TRACES": str(self.traces), "DB_PORT": str(self.db_port), **files}
        return {**super().environment, **SETTINGS, **own}

    @property
    def network(self) -> str:
        return f"{self.project}_default"

    @property
    def database_url(self) -> str:
        """From this machine."""
        inside = self.exec("web", "cat", "/secrets/database_url")
        return inside.replace("@db:5432", f"@127.0.0.1:{self.db_port}")

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def docker(self, *arguments: str) -> str:
        """Run ``docker``, which must succeed."""
        done = subprocess.run(("docker", *arguments), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{arguments}: {done.stderr}")
        return done.stdout

    def processes(self, service: str) -> list[Process]:
        """The processes of the container, oldest first, without the one that only collects orphans."""
        lines = self.docker("top", self.container(service), "-eo", "pid,rss,comm").splitlines()[1:]
        rows = [line.split(maxsplit=2) for line in lines]
        found = [Process(pid=int(pid), rss=int(rss)) for pid, rss, name in rows if "init" not in name]
        return sorted(found, key=lambda process: process.pid)


@contextmanager
def brought_up(stack: SoakStack) -> Iterator[None]:
    """Build the image, start everything, and remove it afterwards."""
    try:
        stack.compose("build", timeout_seconds=1800)
        stack.compose("up", "--detach", "--wait", timeout_seconds=900)
        yield
    finally:
        stack.compose("down", "--volumes", "--timeout", "10", timeout_seconds=300)
        with suppress(RuntimeError):
            stack.docker("image", "rm", stack.image)


class MemorySamples:
    """The memory of the processes over time, in MiB, read in a thread."""

    def __init__(self, stack: SoakStack) -> None:
        self.by_kind = defaultdict[str, list[float]](list)
        self._stack, self._end = stack, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @contextmanager
    def taken(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            for service in ("beat", "worker", "web", "redis", "db"):
                # A container may just be down.
                with suppress(RuntimeError):
                    self._sample(service)

    def _sample(self, service: str) -> None:
        main, *others = [process.rss / 1024 for process in self._stack.processes(service)] or [0.0]
        if service == "worker" and main:
            self.by_kind["worker, main process"].append(main)
            self.by_kind["worker, largest child"] += [max(others)] if others else []
        elif main:
            # Others are those of its health check, or smaller.
            self.by_kind[service].append(max(main, *others, 0.0))
