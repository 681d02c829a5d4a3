"""The health checks of Compose's containers notice a process that hangs, or that has lost its broker.

They are tried with a window of four seconds instead of thirty, since a living process never lets even that
pass.
"""

import os
import signal
import subprocess
from typing import Any

import pytest
import yaml

from tests.integration.processes import suspended
from tests.integration.service import ROOT, Service
from tests.waiting import wait_until

WINDOW = "-4 seconds"


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def is_healthy(running: Service, check: list[str]) -> bool:
    """The result of a container's check, which is a line for the shell."""
    kind, line = check
    assert kind == "CMD-SHELL"
    assert "/tmp/" in line
    assert "-30 seconds" in line
    line = line.replace("$$", "$").replace("/tmp/", f"{running.folder}/").replace("-30 seconds", WINDOW)
    return subprocess.run(["sh", "-c", line], check=False).returncode == 0


def test_a_suspended_beat_and_a_worker_whose_main_loop_is_blocked_are_unhealthy(
    running: Service, worker: str, compose: Any
) -> None:
    checks = {name: compose[name]["healthcheck"]["test"] for name in ("beat", "worker")}

    def healthy() -> list[str]:
        return [name for name, check in checks.items() if is_healthy(running, check)]

    wait_until(lambda: healthy() == ["beat", "worker"], what="both are alive")
    with suspended(running, "beat"):
        # Only its main process: its children go on.
        os.kill(running.processes[worker].pid, signal.SIGSTOP)
        try:
            wait_until(lambda: healthy() == [], what="neither is healthy")
        finally:
            os.kill(running.processes[worker].pid, signal.SIGCONT)
    wait_until(lambda: healthy() == ["beat", "worker"], what="both are healthy again")


def test_a_worker_without_redis_is_unhealthy_until_it_is_back_and_beat_stays_healthy(
    running: Service, worker: str, compose: Any
) -> None:
    checks = {name: compose[name]["healthcheck"]["test"] for name in ("beat", "worker")}
    running.stop("redis", signal.SIGKILL)
    wait_until(lambda: not is_healthy(running, checks["worker"]), what="the worker is unhealthy")
    # All that it could have shown before Redis died is too old by now.
    wait_until(lambda: is_healthy(running, checks["beat"]), what="beat is healthy")
    running.start_redis()
    wait_until(lambda: is_healthy(running, checks["worker"]), what="the worker is healthy again")
