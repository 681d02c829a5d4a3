"""Histograms of seconds, as they are stored in JSON: the number of values up to each bound, and their sum.

Each value is counted at the lowest bound that is not below it, and only there. So the bounds can be changed
between two versions: what was counted at a bound that is gone belongs to the next higher one.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from jobledger.jobs.json_text import is_finite

DURATION_BOUNDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 1800, 3600, 7200, 21600, 43200, 86400)
DELAY_BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and is_finite(value)


def _is_count(bound: str, count: Any) -> bool:
    try:
        return not math.isnan(float(bound)) and isinstance(count, int)
    except ValueError:
        return False


class Histogram:
    def __init__(self, bounds: Sequence[float], stored: Mapping[str, Any] | None = None) -> None:
        """An empty one, or as it is stored; what is no number of values at a bound is left out."""
        self._bounds = bounds
        counts, total = ((stored or {}).get(name) for name in ("counts", "sum"))
        named = counts.items() if isinstance(counts, dict) else ()
        self.counts: dict[str, int] = {bound: count for bound, count in named if _is_count(bound, count)}
        self.sum = float(total) if _is_number(total) else 0.0

    def add(self, seconds: float) -> None:
        """Count a value; one below zero, from clocks that differ, is zero."""
        value = max(seconds, 0.0)
        place = bisect_left(self._bounds, value)
        bound = f"{self._bounds[place] if place < len(self._bounds) else math.inf:g}"
        self.counts[bound] = self.counts.get(bound, 0) + 1
        self.sum += value

    def merge(self, other: "Histogram") -> None:
        for bound, count in other.counts.items():
            self.counts[bound] = self.counts.get(bound, 0) + count
        self.sum += other.sum

    def as_json(self) -> dict[str, Any]:
        return {"counts": self.counts, "sum": self.sum}

    @property
    def buckets(self) -> list[tuple[float, int]]:
        """Each bound, and how many values do not exceed it; the last bound is infinite."""
        stored = [(float(bound), count) for bound, count in self.counts.items()]
        return [
            (bound, sum(count for at, count in stored if at <= bound)) for bound in (*self._bounds, math.inf)
        ]
