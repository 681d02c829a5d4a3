"""The benchmark runs, and its figures are plausible; how fast anything is, is not asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scheduler.__main__ import main

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
