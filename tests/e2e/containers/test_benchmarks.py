"""The benchmarks of PostgreSQL alone. Beside tests in a browser, a container disturbs the network."""

import re
from datetime import timedelta

import psycopg
import pytest

from benchmarks.ledger import __main__ as ledger
from benchmarks.ledger import steps
from tests.integration.test_benchmarks import seed
from tests.with_postgres import postgres


def test_what_a_run_costs_postgresql_is_measured_step_by_step(capfd: pytest.CaptureFixture[str]) -> None:
    ledger.main(["--runs", "3", "--full-page-writes", "off"])
    printed = capfd.readouterr().out
    for title, _ in steps.KINDS.values():
        assert title in printed
    heartbeats = [int(each.replace(",", "")) for each in re.findall(r"\| heartbeat \| ([\d,]+) \|", printed)]
    assert len(heartbeats) == len(steps.KINDS)
    # Of the columns that it changes, without an entry in any index.
    assert all(100 <= each <= 500 for each in heartbeats)


def test_what_ledgers_of_different_sizes_cost_is_compared(capfd: pytest.CaptureFixture[str]) -> None:
    ledger.main(["--sizes", "100,600", "--runs", "3", "--delete", "20"])
    head, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in capfd.readouterr().out.splitlines()
        if line.startswith("| ")
    ]
    assert head[1:4] == ["pages, 100", "pages, 600", "pages, ratio"]
    cells = {row[0]: dict(zip(head, row, strict=True)) for row in rows}
    for title in "home", "runs of beat", "a tick of beat with nothing due", "a run: claim":
        assert all(float(cells[title][name].replace(",", "")) > 0 for name in head[1:4])
    # A fifth of the smaller one would be too much.
    deleted = cells["1,000 runs deleted"]
    assert (deleted["pages, 100"], deleted["pages, ratio"]) == ("", "")
    assert float(deleted["pages, 600"].replace(",", "")) > 1000
    assert float(deleted["WAL, 600"].replace(",", "")) > 50_000


def test_postgresql_fills_a_database_with_copies_of_runs_in_the_past() -> None:
    with postgres() as url:
        done = seed(url, "--schedules", "3", "--runs", "50", "--copies", "2")
        assert done.returncode == 0, done.stderr
        assert "3 schedules and 150 runs" in done.stdout
        with psycopg.connect(url) as server:
            found = server.execute("SELECT queued_at FROM jobledger_run ORDER BY queued_at").fetchall()
    times = [time for (time,) in found]
    period = timedelta(days=(times[-1] - times[-50]).days + 1)
    assert times[50:] == [time + period for time in times[:100]]
