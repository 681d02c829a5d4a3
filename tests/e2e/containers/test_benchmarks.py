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
