"""The health checks of the Compose file notice within a minute that a process hangs."""

import re
from datetime import timedelta
from typing import Any

import pytest
import yaml

from jobledger.runs.service import pulse
from jobledger.schedules import scheduler
from tests.manual import ROOT

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


@pytest.mark.parametrize(
    ("service", "name", "touched_every"),
    [
        ("beat", "beat", scheduler.MAX_WAIT_SECONDS),
        ("worker", "worker", pulse.SECONDS),
        ("worker-reports", "worker", pulse.SECONDS),
    ],
)
def test_a_process_that_hangs_is_unhealthy_within_a_minute(
    service: str, name: str, touched_every: float
) -> None:
    check = SERVICES[service]["healthcheck"]
    (window,) = re.findall(rf"find /tmp/{name} -newermt '-(\d+) seconds'", check["test"][1])
    # The file is as old as the window by then; as many checks have to fail.
    unhealthy_after = float(window) + check["retries"] * seconds(check["interval"])
    assert timedelta(seconds=unhealthy_after) <= timedelta(minutes=1)
    assert float(window) >= 5 * touched_every


def test_the_worker_of_a_queue_is_a_worker_that_reads_only_that_and_starts_if_it_is_turned_on() -> None:
    own = dict(SERVICES["worker-reports"])
    command = [*SERVICES["worker"]["command"], "--queues", "reports"]
    assert (own.pop("profiles"), own.pop("command")) == (["reports"], command)
    assert own == {name: value for name, value in SERVICES["worker"].items() if name != "command"}


def test_a_web_server_is_healthy_if_it_reaches_the_database_whatever_the_other_processes_do() -> None:
    check = SERVICES["web"]["healthcheck"]
    assert "GET /healthz HTTP/1.0" in check["test"][-1]
    assert check["retries"] * (seconds(check["interval"]) + seconds(check["timeout"])) <= 60
