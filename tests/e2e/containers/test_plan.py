"""The costs that a plan is computed from can be measured, and so can a burst, whatever they are."""

from dataclasses import fields

import pytest

from benchmarks.plan import burst
from benchmarks.plan.costs import Costs
from benchmarks.plan.measuring import measured

pytestmark = pytest.mark.takes_long


def test_every_cost_is_measured() -> None:
    # So many that what the service logs meanwhile, which is subtracted, is far less.
    costs = measured(50, beats=80)

    figures = {each.name: getattr(costs, each.name) for each in fields(Costs)}
    # In so short a time, some need less CPU time than the clock can tell.
    must_be_there = {
        name for name in figures if "_bytes_" in name or name in ("child_mib", "machine", "measured_on")
    }
    assert [name for name in must_be_there if not figures[name]] == []
    assert [name for name, value in figures.items() if isinstance(value, float) and value < 0] == []


def test_a_burst_is_executed_by_as_many_workers() -> None:
    (two,) = burst.measured(20, [2], children=1)

    assert (two.count, two.workers, two.children) == (20, 2, 1)
    assert 0 < two.executed_seconds < 60
    assert 0 < two.published_seconds < 60
    assert min(two.beat_ms, two.worker_ms, two.database_ms) > 0
