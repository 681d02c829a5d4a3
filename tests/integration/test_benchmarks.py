"""The benchmark runs, and its figures make sense; how fast anything is, is not judged here."""

import json
from pathlib import Path

import pytest

from benchmarks import scheduler


@pytest.mark.embedded
def test_the_benchmark_compares_both_schedulers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    scheduler.main(["--sizes", "5", "--burst", "5", "--repeat", "1", "--json", str(file)])
    (made,) = json.loads(file.read_text())
    assert set(made["steady"]) == set(made["burst"]) == {"ours", "stock"}
    assert made["steady"]["ours"]["5"]["slice_count"] == 1
    assert [burst["measured_on"] for burst in made["burst"]["ours"]] == [5]
    assert "| idle tick, ms | this scheduler |" in capsys.readouterr().out
