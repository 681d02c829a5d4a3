"""What a load needs grows with the load, and by as much as the costs say."""

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.plan.costs import Costs
from benchmarks.plan.planning import GIB, Load, drained, needs_of

COSTS = Costs(
    machine="this one",
    measured_on="2026-03-02",
    beat_ms_per_slot=0.5,
    database_ms_per_slot=0.25,
    wal_bytes_per_slot=3000,
    redis_bytes_per_message=1000,
    worker_ms_per_run=10,
    database_ms_per_run=0.75,
    wal_bytes_per_run=1000,
    worker_ms_per_claim=0.5,
    database_ms_per_claim=0.25,
    worker_ms_per_claim_in_bulk=0.25,
    database_ms_per_claim_in_bulk=0.125,
    worker_ms_per_heartbeat=1,
    database_ms_per_heartbeat=0.5,
    wal_bytes_per_heartbeat=500,
    worker_ms_per_output_kib=0.1,
    table_bytes_per_output_kib=100,
    table_bytes_per_run=900,
    ms_per_pruned_run=0.2,
    child_mib=64,
)
A_RUN_A_SECOND = Load(
    runs_per_day=86_400,
    peak=0,
    peak_seconds=300,
    job_seconds=4,
    job_cpu_seconds=0,
    output_kib=1,
    keep_days=10,
)
AMOUNTS = st.floats(min_value=1, max_value=1e7)


def test_a_run_a_second_of_four_seconds_needs_five_children() -> None:
    needs = needs_of(A_RUN_A_SECOND, COSTS)
    assert (needs.runs_per_second, needs.runs_per_second_at_peak) == (1, 1)
    # Four would be busy all the time, without a moment for the next message.
    assert (needs.children, needs.workers, needs.machines) == (5, 2, 1)
    assert needs.children_gib == 5 * 64 / 1024


def test_the_database_has_the_runs_their_heartbeats_and_their_output() -> None:
    needs = needs_of(A_RUN_A_SECOND, COSTS)
    assert needs.database_cores == pytest.approx((0.25 + 0.75 + 2 * 0.5) / 1000)
    assert needs.wal_gib_per_day * GIB == pytest.approx(86_400 * (3000 + 1000 + 2 * 500 + 100))
    assert needs.disk_gib * GIB == pytest.approx(86_400 * 10 * (900 + 100))
    assert needs.pruning_seconds == pytest.approx(86_400 * 2 * 0.2 / 1000)


def test_a_peak_is_spread_over_the_time_that_it_may_take() -> None:
    needs = needs_of(replace(A_RUN_A_SECOND, peak=6_000), COSTS)
    assert needs.runs_per_second_at_peak == 20
    assert needs.children == math.ceil(20 * (4 + 0.01075))
    assert needs.seconds_until_published == 3
    assert needs.redis_mib == pytest.approx(6_000 * 1000 / 1024**2)


def test_what_reaches_its_limit_first_is_named_first() -> None:
    needs = needs_of(A_RUN_A_SECOND, COSTS)
    # 34 of 100, 35 of 3,600 s, 0.5 of 1,000 ms, and 2 of 4,000 ms.
    assert [part.name for part in needs.parts] == [
        *("database, connections", "pruning", "beat", "database, CPU"),
    ]
    assert needs.parts[0].used == needs.connections / 100
    assert needs.parts[1].used == pytest.approx(34.56 / 3600)
    roomy = needs_of(replace(A_RUN_A_SECOND, max_connections=10_000), COSTS)
    assert roomy.parts[0].name == "pruning"


@given(AMOUNTS, AMOUNTS)
def test_more_runs_never_need_less(one: float, other: float) -> None:
    less, more = (
        needs_of(replace(A_RUN_A_SECOND, runs_per_day=amount), COSTS) for amount in sorted((one, other))
    )
    for name in ("children", "machines", "connections", "database_cores", "disk_gib", "pruning_seconds"):
        assert getattr(less, name) <= getattr(more, name)
    assert all(part.used >= 0 for part in more.parts)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"runs_per_day": 0}, "runs per day: expected more than 0, got 0"),
        ({"peak_seconds": -1}, "peak seconds: expected more than 0, got -1"),
        ({"runs_per_day": math.nan}, "runs per day: expected a finite number, got nan"),
        ({"keep_days": math.inf}, "keep days: expected a finite number, got inf"),
        ({"max_connections": 0}, "max connections: expected more than 0, got 0"),
        ({"job_seconds": -1}, "job seconds: expected at least 0, got -1"),
        ({"peak": 90_000}, "peak: 90000 runs are more than the 86400 of the day"),
    ],
)
def test_an_impossible_load_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        needs_of(replace(A_RUN_A_SECOND, **changes), COSTS)


PEAK_OF_NOTHING = replace(
    A_RUN_A_SECOND, peak=4_000, job_seconds=0, output_kib=0, children=2, database_cores=4
)


@pytest.mark.parametrize(
    ("workers", "seconds", "bound_by"),
    [
        # Two children that are busy for 10 ms and wait for the database for 0.75.
        (1, 4 * 10.75 / 2, "the number of children"),
        (2, 4 * 10.75 / 4, "the number of children"),
        # A single core plans and publishes 2,000 a second.
        (100, 4 * 0.5, "beat"),
    ],
)
def test_more_workers_execute_a_peak_sooner_until_something_else_bounds_it(
    workers: int, seconds: float, bound_by: str
) -> None:
    drain = drained(PEAK_OF_NOTHING, COSTS, workers)
    assert (drain.workers, drain.bound_by) == (workers, bound_by)
    assert drain.seconds == pytest.approx(seconds)


def test_children_wait_for_a_core_if_a_worker_has_more_of_them_than_its_machine() -> None:
    drain = drained(replace(PEAK_OF_NOTHING, children=16), COSTS, 1)
    assert drain.bound_by == "the workers' CPU"
    assert drain.seconds == pytest.approx(4 * 10 / 2)


def test_a_small_database_bounds_a_peak() -> None:
    drain = drained(replace(PEAK_OF_NOTHING, database_cores=0.25), COSTS, 100)
    assert drain.bound_by == "the database's CPU"
    assert drain.seconds == pytest.approx(4 * (0.25 + 0.75) / 0.25)


def test_on_one_machine_a_second_worker_brings_only_what_the_first_one_left() -> None:
    one, two, three = (drained(PEAK_OF_NOTHING, COSTS, number, shared_cores=2) for number in (1, 2, 3))
    # Of the 11.5 ms of a run, those of the worker are on the cores while its children wait for the database.
    assert (one.bound_by, two.bound_by) == ("the machine's CPU", "the machine's CPU")
    assert one.seconds == two.seconds == three.seconds == pytest.approx(4 * 11.5 / 2)


def test_a_peak_takes_as_long_as_its_jobs() -> None:
    drain = drained(replace(PEAK_OF_NOTHING, job_seconds=60), COSTS, 1)
    assert drain.seconds == pytest.approx(4_000 * 60.01075 / 2, rel=0.01)


@given(st.integers(1, 500), st.integers(1, 500), AMOUNTS, st.floats(0, 100))
def test_more_workers_never_take_longer(one: int, other: int, peak: float, job_seconds: float) -> None:
    load = replace(PEAK_OF_NOTHING, runs_per_day=1e7, peak=peak, job_seconds=job_seconds)
    fewer, more = (drained(load, COSTS, number).seconds for number in sorted((one, other)))
    assert more <= fewer
    # None is faster than beat, and none than its job.
    assert more >= max(peak * COSTS.beat_ms_per_slot / 1000, job_seconds)


@pytest.mark.parametrize(("workers", "beats", "peak"), [(0, 1, 100), (1, 0, 100), (1, 1, 0)])
def test_without_a_worker_a_beat_or_a_peak_there_is_nothing_to_execute(
    workers: int, beats: int, peak: float
) -> None:
    found = f"got {workers} workers, {beats} beats and a peak of {peak:g}"
    with pytest.raises(ValueError, match=found):
        drained(replace(PEAK_OF_NOTHING, peak=peak), COSTS, workers, beats=beats)


def test_beats_share_what_is_due() -> None:
    drain = drained(PEAK_OF_NOTHING, COSTS, 100, beats=2)
    assert drain.seconds == pytest.approx(4 * 0.5 / 2)


def test_there_are_as_many_beats_as_the_peak_needs_and_a_spare_one() -> None:
    # Of 1,400 and 1,401 runs a second, each of which takes beat half a millisecond.
    few, more = (
        needs_of(replace(A_RUN_A_SECOND, runs_per_day=1e7, peak=peak, peak_seconds=1), COSTS)
        for peak in (1_400, 1_401)
    )
    assert (few.beats, more.beats) == (2, 3)
    assert few.seconds_until_published == pytest.approx(0.7)
    assert more.seconds_until_published == pytest.approx(0.35, rel=0.01)
