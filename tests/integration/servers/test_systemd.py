"""What systemd's units start works, and stops as they say. The test takes systemd's place."""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.ledger import call_lasting, let_end, wait_for_end, wait_for_start
from tests.integration.service import Service, service
from tests.ports import free_port
from tests.systemd import unit
from tests.waiting import DEADLINE_SECONDS, wait_until

SECRETS = {"secret_key": "SECRET_KEY", "database_url": "DATABASE_URL", "redis_url": "REDIS_URL"}


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """A service without processes; its secrets are files, as systemd's credentials are."""
    with service() as started:
        for name in ("credentials", "runtime", "state"):
            (started.folder / name).mkdir()
        for name, variable in SECRETS.items():
            (started.folder / "credentials" / name).write_text(started.environment[variable])
        yield started


def start(running: Service, name: str, **variables: str) -> subprocess.Popen[bytes]:
    """Start the unit's process with its environment, without secrets in it."""
    found = unit(name, running.folder)
    for directory in found.settings.get("RuntimeDirectory", []):
        (running.folder / "runtime" / directory.replace("%i", "1")).mkdir()
    without_secrets = dict.fromkeys(SECRETS.values(), "")
    environment = {**without_secrets, **found.environment, **variables}
    return running.start(name, *found.command(**variables), **environment)


def health_file(running: Service, kind: str, name: str) -> Path:
    return running.folder / "runtime" / f"jobledger-{name}" / kind


def test_setup_prepares_the_database_and_ends(running: Service) -> None:
    assert start(running, "setup").wait(DEADLINE_SECONDS) == 0, running.log("setup")


def test_the_web_server_tells_systemd_when_it_serves(running: Service) -> None:
    address, port = str(running.folder / "notify.sock"), free_port()
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(address)
        systemd.settimeout(DEADLINE_SECONDS)
        process = start(running, "web", NOTIFY_SOCKET=address, BIND=f"127.0.0.1:{port}")
        assert b"READY=1" in systemd.recv(4096)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=30) as answer:
            assert answer.read() == b"ok\n"
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(float(unit("web", running.folder).last("TimeoutStopSec"))) == 0


def test_beat_shows_that_it_is_alive(running: Service) -> None:
    start(running, "beat")
    wait_until(health_file(running, "beat", "beat").exists, what="beat ticks")
    assert running.stop("beat") == 0


def test_a_worker_finishes_its_job_when_its_main_process_is_told_to_stop(running: Service) -> None:
    worker = start(running, "worker@")
    wait_until(health_file(running, "worker", "worker-1").exists, what="the worker's heartbeat")
    run = call_lasting(running, "lasting")
    wait_for_start(running, run)
    os.kill(worker.pid, signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in running.log("worker@"), what="the worker stops")
    with let_end(running, "lasting"):
        row = wait_for_end(running, run)
    assert worker.wait(DEADLINE_SECONDS) == 0
    assert (row.status, row.worker.partition(":")[0]) == ("succeeded", "1@here")
