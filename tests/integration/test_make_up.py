"""``make up`` in a new clone: it serves, other shells find it, and Ctrl-C leaves nothing behind."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from proj.state import redis_socket
from proj.supervisor import MIN_UPTIME_SECONDS
from tests.integration.docs.clone import EXPORTED
from tests.integration.service import ROOT
from tests.ports import free_port
from tests.waiting import DEADLINE_SECONDS, wait_until

pytestmark = pytest.mark.takes_long

KEPT_OUT = shutil.ignore_patterns(".git", ".venv", "var", ".env", "*.pyc.*", ".*_cache", ".hypothesis")


@pytest.fixture
def clone() -> Iterator[Path]:
    """A copy of the project, with this virtualenv, in a path that is too long for a Unix socket."""
    parent = Path(tempfile.mkdtemp(prefix="jobs-"))
    folder = parent / ("a rather long name of a folder, " * 4).strip()
    shutil.copytree(ROOT, folder, ignore=KEPT_OUT)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    yield folder
    shutil.rmtree(parent)


@pytest.fixture
def temporary(clone: Path) -> Path:
    """Where every process has its temporary files."""
    folder = clone.parent / "tmp"
    folder.mkdir()
    return folder


@pytest.fixture
def shell(temporary: Path) -> dict[str, str]:
    """The environment of a second shell, without variables of the service."""
    kept = {name: value for name, value in os.environ.items() if name not in EXPORTED}
    return {**kept, "TMPDIR": str(temporary)}


def call(folder: Path, shell: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=shell, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    return done.stdout


def answer(port: int) -> str:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
        return str(response.read().decode())
    return ""


def processes_in(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(process.cwd()) == folder:
                found.append(process.name())
    return found


def age(pid: int) -> float:
    """The age of a process in seconds."""
    return time.time() - float(psutil.Process(pid).create_time())


def started(log: Path, name: str) -> list[int]:
    """The process ids that a process of the service has had."""
    return [int(pid) for pid in re.findall(rf"{name} started \(pid=(\d+)\)", log.read_text())]


def test_make_up_serves_brings_back_what_died_and_ctrl_c_stops_everything(
    clone: Path, shell: dict[str, str], temporary: Path
) -> None:
    port = free_port()
    log = clone / "up.log"
    with log.open("wb") as output:
        up = subprocess.Popen(
            ["make", "up", f"PORT={port}"],
            cwd=clone,
            env=shell,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: answer(port) == "ok\n", what="the web process answers")
        wait_until(lambda: "ready." in log.read_text(), what="the worker is ready")
        task_id = call(clone, shell, ".venv/bin/celery", "-A", "proj", "call", "tasks_app.hello").strip()
        assert task_id in call(clone, shell, ".venv/bin/celery", "-A", "proj", "result", task_id)
        assert task_id in call(clone, shell, ".venv/bin/python", "manage.py", "jobledger", "runs")
        second = subprocess.run(
            ["make", "up", f"PORT={free_port()}"],
            cwd=clone,
            env=shell,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert second.returncode != 0
        assert "The service is already running from this directory." in second.stderr
        assert answer(port) == "ok\n"
        worker = started(log, "worker")[-1]
        wait_until(lambda: age(worker) > MIN_UPTIME_SECONDS + 1, what="the worker has lived for a while")
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: log.read_text().count("ready.") == 2, what="the worker is there again")
        assert "exited (rc=-9); restarting" in log.read_text()
        task_id = call(clone, shell, ".venv/bin/celery", "-A", "proj", "call", "tasks_app.hello").strip()
        assert task_id in call(clone, shell, ".venv/bin/celery", "-A", "proj", "result", task_id)
    finally:
        # Ctrl-C on a terminal signals the whole foreground group.
        os.killpg(up.pid, signal.SIGINT)
        up.wait(DEADLINE_SECONDS)
    said = log.read_text()
    assert "Cannot connect to redis" not in said
    assert f"http://127.0.0.1:{port}/admin/" in said
    assert (clone / "var" / "admin_password").read_text().strip() in said
    wait_until(lambda: not processes_in(clone), what="every process has ended")
    assert not redis_socket(clone / "var").parent.exists()
    # The worker that was killed could not remove its own.
    assert len(list(temporary.iterdir())) <= 1
