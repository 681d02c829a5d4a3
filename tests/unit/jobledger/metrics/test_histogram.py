"""Each value is counted once, at the lowest bound that is not below it, also after bounds have changed."""

import json
import math
from typing import Any

import pytest

from jobledger.metrics.histogram import Histogram


def test_a_bucket_counts_all_values_up_to_its_bound() -> None:
    found = Histogram((0.5, 1, 60))
    for seconds in (0.5, 0.51, 59, 61):
        found.add(seconds)
    assert found.buckets == [(0.5, 1), (1, 2), (60, 3), (math.inf, 4)]
    assert found.sum == pytest.approx(121.01)


def test_a_negative_value_is_zero() -> None:
    found = Histogram((1,))
    found.add(-5)
    assert (found.buckets, found.sum) == ([(1, 1), (math.inf, 1)], 0)


def test_it_survives_being_stored_and_merged() -> None:
    one, other = Histogram((1, 10)), Histogram((1, 10))
    one.add(0.5)
    other.add(5)
    other.add(50)
    stored = Histogram((1, 10), json.loads(json.dumps(one.as_json())))
    stored.merge(other)
    assert (stored.buckets, stored.sum) == ([(1, 1), (10, 2), (math.inf, 3)], 55.5)


def test_what_was_counted_at_a_bound_that_is_gone_belongs_to_the_next_higher_one() -> None:
    old = Histogram((1, 2, 10))
    for seconds in (0.5, 1.5, 5, 50):
        old.add(seconds)
    new = Histogram((1, 5, 20), old.as_json())
    assert new.buckets == [(1, 1), (5, 2), (20, 3), (math.inf, 4)]


@pytest.mark.parametrize(
    "stored",
    [
        {"counts": 5, "sum": "x"},
        {"counts": {"nan": 1, "x": 1, "1": "2", "5": None}, "sum": None},
        {"counts": [], "sum": float("inf")},
    ],
)
def test_what_is_no_count_is_left_out(stored: dict[str, Any]) -> None:
    assert Histogram((1, 5), stored).as_json() == {"counts": {}, "sum": 0.0}
