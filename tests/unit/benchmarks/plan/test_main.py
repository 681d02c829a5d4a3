"""The command says what a load needs, or what is wrong."""

import json
from pathlib import Path

import pytest

from benchmarks import databases
from benchmarks.plan import measuring, report
from benchmarks.plan.__main__ import main
from benchmarks.plan.costs import Burst, Costs
from tests.unit.benchmarks.plan.test_planning import COSTS


@pytest.fixture
def costs(tmp_path: Path) -> str:
    file = tmp_path / "costs.json"
    COSTS.write(file)
    return str(file)


def test_what_was_measured_is_read_again(costs: str) -> None:
    assert Costs.read(Path(costs)) == COSTS


def test_the_costs_of_this_version_are_there() -> None:
    assert main(["--runs-per-day", "1000000", "--peak", "41700"]) == 0


def test_a_plan_is_printed(costs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs-per-day", "86400", "--peak", "6000", "--job-seconds", "4", "--costs", costs]) == 0
    printed = capsys.readouterr().out
    assert "Costs of 2026-03-02: this one" in printed
    assert "runs a second        1.0, 20.0 at the peak" in printed
    assert "21 of 4 children, 81 runs at the same time" in printed
    assert printed.index("database, connections: 205 of 100") < printed.index("database, CPU:")


def test_a_remedy_is_named_for_what_is_over_its_limit(costs: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--runs-per-day", "1000000", "--peak", "1000000", "--peak-seconds", "60", "--costs", costs])
    assert "  833.3%  beat: one of them records and publishes 2,000 runs a second\n" in (
        printed := capsys.readouterr().out
    )
    assert "more beats, which share what is due; or spread the peak over more minutes" in printed


def test_a_plan_is_printed_as_json(costs: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--runs-per-day", "86400", "--costs", costs, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["load"]["runs_per_day"] == 86_400
    assert printed["needs"]["runs_per_second"] == 1
    assert printed["costs"]["machine"] == "this one"


@pytest.mark.parametrize("content", [None, "{", "{}", '{"machine": "old"}'])
def test_without_costs_it_says_how_to_measure_them(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "costs.json"
    if content is not None:
        file.write_text(content)
    assert main(["--runs-per-day", "10", "--costs", str(file)]) == 1
    assert capsys.readouterr().err.endswith("Measure them: --measure\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say what to do: --runs-per-day, --measure or --burst"),
        (["--burst", "3"], "expected a number of runs, at least 20, got '3'"),
        (["--measure", "--count", "-5"], "expected a number of runs, at least 20, got '-5'"),
        (
            ["--runs-per-day", "10", "--workers", "1,0"],
            "expected numbers of workers, as in 1,2,10, got '1,0'",
        ),
        (["--runs-per-day", "many"], "invalid float value: 'many'"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_was_expected(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert message in capsys.readouterr().err


def test_how_long_a_peak_takes_is_printed_for_each_number_of_workers(
    costs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = ("--job-seconds", "0", "--job-cpu", "0", "--output-kib", "0", "--children", "2")
    main(["--runs-per-day", "1e6", "--peak", "40000", *nothing, "--workers", "1,100", "--costs", costs])
    printed = capsys.readouterr().out
    assert "  after 215 s with 1 worker of 2 children, bound by the number of children\n" in printed
    assert "  after 20 s with 100 workers of 2 children, bound by beat\n" in printed


@pytest.mark.parametrize("arguments", [["--measure"], ["--burst", "20"]])
def test_without_docker_nothing_is_measured_and_the_costs_stay_as_they_are(
    arguments: list[str], costs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "missing_docker", lambda: "there is no engine")
    assert main([*arguments, "--costs", costs]) == 1
    assert capsys.readouterr().err == "Nothing can be measured: there is no engine\n"
    assert Costs.read(Path(costs)) == COSTS


@pytest.mark.parametrize(
    "error", [TimeoutError("only 3 of 20 runs have ended"), RuntimeError("it has ended")]
)
def test_a_measurement_that_fails_says_of_what_and_keeps_the_costs(
    error: Exception, costs: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(count: int) -> Costs:
        raise error

    monkeypatch.setattr(measuring, "measured", fail)
    assert main(["--measure", "--runs-per-day", "10", "--costs", costs]) == 1
    printed = capsys.readouterr()
    assert printed.err == f"The measurement has failed, and nothing was written: {error}\n"
    assert printed.out == ""
    assert Costs.read(Path(costs)) == COSTS


def test_a_burst_is_printed_beside_what_was_computed() -> None:
    measured = Burst(
        count=4_000,
        beats=1,
        workers=2,
        children=2,
        published_seconds=5.2,
        executed_seconds=32,
        beat_ms=0.5,
        worker_ms=11,
        database_ms=1.25,
    )
    head, line, row = report.of_bursts([measured], COSTS, 2)
    assert head.count("|") == line.count("|") == row.count("|")
    # 11.5 ms of each run on two cores take 23 s.
    assert row == "| 4,000 | 1 | 2 of 2 | 125 | 5 | 32 | 23 | 0.50 | 11.00 | 1.25 |"


def test_an_impossible_load_is_an_error(costs: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--runs-per-day", "-1", "--costs", costs]) == 1
    assert capsys.readouterr().err == "runs per day: expected more than 0, got -1\n"
