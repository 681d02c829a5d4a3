"""``python -m benchmarks``: which rows it measures, and what it prints of them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from threading import Event

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks.rows.row import Figure, Measure, NotMeasuredError, Of, Plan, Row, Target

FIGURE = Figure(title="a run, ms", here=12.0, peer=4.0, peer_title="stock", target=Target(limit=1.5))


def measured(plan: Plan, database: str) -> Iterator[Figure]:
    yield FIGURE


def failing(plan: Plan, database: str) -> Iterator[Figure]:
    raise RuntimeError("broken")


def missing(plan: Plan, database: str) -> Iterator[Figure]:
    raise NotMeasuredError("stock is not installed")


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows: one fails, one cannot be measured here, and one has a figure."""
    rows: dict[str, Measure] = {"fails": failing, "lacks": missing, "works": measured}
    made = [Row(name=name, databases=("sqlite",), measure=measure) for name, measure in rows.items()]
    monkeypatch.setattr(benchmarks, "ROWS", made)
    monkeypatch.setattr(benchmarks, "NAMES", tuple(rows))


@pytest.mark.usefixtures("use")
def test_a_row_alone_is_printed_with_its_ratio_and_its_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks.main(["works"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| works")]
    assert line == "| works | a run, ms | 12 | stock | 4 | 3 | ratio ≤ 1.5 | missed |"


@pytest.mark.usefixtures("use")
def test_a_row_that_fails_keeps_no_other_from_being_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks.main([]) == 1
    printed = capsys.readouterr()
    assert "| fails | not measured: it failed |" in printed.out
    assert "| lacks | not measured: stock is not installed |" in printed.out
    assert "| works | a run, ms |" in printed.out
    assert "RuntimeError: broken" in printed.err


@pytest.mark.usefixtures("use")
def test_the_same_is_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmarks.main(["--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    (figure,) = printed["figures"]
    assert (figure["row"], figure["here"], figure["its_value"], figure["ratio"]) == ("works", 12, 4, 3)
    assert figure["is_met"] is False
    assert printed["not_measured"] == {"lacks": "stock is not installed"}
    assert printed["failed"] == ["fails"]


@pytest.mark.usefixtures("use")
def test_an_unknown_row_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(SystemExit, match=r"unknown rows: nothing; expected some of fails, lacks, works"):
        benchmarks.main(["nothing"])


@pytest.mark.usefixtures("use")
def test_a_database_that_is_missing_is_the_reason_of_all_of_its_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def server(database: str) -> AbstractContextManager[None]:
        raise NotMeasuredError("no engine")

    monkeypatch.setattr(benchmarks, "database_server", server)
    assert benchmarks.main([]) == 0
    assert capsys.readouterr().out.count("not measured: no engine") == 3


def test_a_row_is_measured_with_the_databases_that_it_and_the_plan_have_in_common(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmarks, "database_server", lambda database: nullcontext())
    rows = [
        Row(name=name, databases=databases, measure=measured)
        for name, databases in {"both": ("sqlite", "postgres"), "one": ("postgres",)}.items()
    ]
    names = [name for name, _ in benchmarks.figures(Plan(databases=("sqlite", "postgres")), rows)]
    assert names == ["both", "both", "one"]
    assert [name for name, _ in benchmarks.figures(Plan(databases=("sqlite",)), rows)] == ["both"]


def test_each_row_has_a_name_of_its_own() -> None:
    assert len(set(benchmarks.NAMES)) == len(benchmarks.NAMES)


@pytest.mark.parametrize(
    ("target", "here", "peer", "is_met"),
    [
        (Target(limit=1.5), 3.0, 2.0, True),
        (Target(limit=1.5), 3.1, 2.0, False),
        (Target(limit=20, is_minimum=True), 40.0, 2.0, True),
        (Target(limit=20, is_minimum=True), 39.0, 2.0, False),
        (Target(limit=0.1, of=Of.VALUE), 0.1, 1.0, True),
        (Target(limit=0.1, of=Of.VALUE), 0.2, 9.0, False),
        (Target(limit=0.1), 0.2, None, None),
        (None, 0.2, 0.1, None),
    ],
)
def test_a_target_limits_the_ratio_or_the_figure_itself(
    target: Target | None, here: float, peer: float | None, is_met: bool | None
) -> None:
    assert Figure(title="x", here=here, peer=peer, target=target).is_met is is_met


def test_it_needs_nothing_that_only_the_tests_bring() -> None:
    """With `make venv` alone, there is no pytest."""
    hide = "import sys; sys.modules.update(dict.fromkeys(('pytest', 'time_machine', 'hypothesis')))"
    code = f"{hide}; import benchmarks.__main__"
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_row_that_hangs_is_given_up_at_its_deadline_and_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hanging(plan: Plan, database: str) -> Iterator[Figure]:
        Event().wait(60)
        yield FIGURE

    hangs = Row(name="hangs", databases=("sqlite",), measure=hanging, deadline_seconds=1)
    works = Row(name="works", databases=("sqlite",), measure=measured)
    monkeypatch.setattr(benchmarks, "ROWS", (hangs, works))
    monkeypatch.setattr(benchmarks, "NAMES", ("hangs", "works"))
    assert benchmarks.main([]) == 1
    printed = capsys.readouterr()
    assert "| hangs | not measured: it failed |" in printed.out
    assert "| works | a run, ms |" in printed.out
    assert "DeadlineError: hangs has taken longer than 1 s" in printed.err
