"""The benchmark runs, and its figures are plausible; how fast anything is, is not asserted."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from benchmarks import services
from benchmarks.rows import commands, idle, latency, runs, starts
from benchmarks.rows.row import Plan, Row
from benchmarks.scheduler.__main__ import main
from tests.integration.service import Service

pytestmark = pytest.mark.takes_long


def test_the_benchmark_compares_both_schedulers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    main(["--sizes", "5", "--burst", "5", "--repeat", "1", "--json", str(file)])
    (made,) = json.loads(file.read_text())
    assert set(made["steady"]) == set(made["burst"]) == {"ours", "stock"}
    assert made["steady"]["ours"]["5"]["slice_count"] == 1
    assert [burst["measured_on"] for burst in made["burst"]["ours"]] == [5]
    assert "| idle tick, ms | this scheduler |" in capsys.readouterr().out


def test_a_database_is_filled_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'seeded.sqlite3'}"
    first, second = (seed(url, "--schedules", "30", "--runs", "2500") for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert "30 schedules and 2500 runs" in first.stdout
    assert second.returncode == 1
    assert "nothing was inserted" in second.stderr


def seed(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "benchmarks.seed", *arguments)
    environment = {**os.environ, "DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def both() -> Iterator[list[Service]]:
    """The service and its peer; the measurements only add to them."""
    with services.side_by_side(services.OURS, services.PEER) as made:
        yield made


@pytest.mark.parametrize(
    ("row", "count"),
    [
        (runs.ROWS[0], 2),
        *((row, 1) for row in commands.ROWS),
        (starts.ROWS[0], 2),
        (idle.ROWS[0], 1),
        (latency.ROWS[0], 2),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_row_is_measured_beside_the_peer(
    row: Row, count: int, both: list[Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def the_same(*kinds: str, **variables: str) -> Iterator[list[Service]]:
        yield both
        # The next row starts its own, which do not execute what these have left in Redis.
        for each in both:
            for name in {"worker", "beat"}.intersection(each.processes):
                each.stop(name)
            with redis.Redis(unix_socket_path=str(each.socket)) as client:
                client.flushall()

    monkeypatch.setattr(services, "side_by_side", the_same)
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    figures = list(row.measure(Plan(databases=("sqlite",), is_smoke=True), "sqlite"))
    assert len(figures) == count
    assert all(figure.here >= 0 and figure.peer is not None for figure in figures)
