"""The figures of a scheduler, as they are passed between processes and written to the JSON file."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures that the measuring process prints and the comparing process reads."""

    def send(self) -> None:
        """Print them as the last line of the output."""
        sys.stdout.write(f"{json.dumps(asdict(self))}\n")

    @classmethod
    def received(cls, output: str) -> Self:
        """Parse the output of the measuring process."""
        values: dict[str, Any] = json.loads(output.splitlines()[-1])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Filled(Figures):
    """A database filled with schedules."""

    adopted_seconds: float
    """How long it took to notice them: they were created by ``bulk_create``, which sends no signals."""


@dataclass(frozen=True, kw_only=True)
class Steady(Figures):
    """A scheduler with at most one schedule due."""

    start_seconds: float
    """Creating the scheduler, and its first tick."""
    memory_before_mib: float
    """After everything has been imported, but without a scheduler."""
    memory_after_mib: float
    """After some idle ticks."""
    idle_tick_ms: float
    sleep_seconds: float
    """How long beat sleeps after an idle tick, unless something is due sooner."""
    one_due_tick_ms: float
    save_ms: float
    """How long ``save()`` of an edited schedule takes."""
    tick_after_save_ms: float
    """The next tick, after which beat uses the edit."""
    slice_ms: float
    """The slowest slice of reconciliation, which is the most that it can add to a tick."""
    pass_ms: float
    """All slices together."""
    slice_count: int
    sweep_interval_seconds: float
    """How often the scheduler looks for edits that send no signal."""


@dataclass(frozen=True, kw_only=True)
class Burst(Figures):
    """Many schedules due in the same second."""

    due: int
    measured_on: int
    """How many messages were awaited in Redis."""
    seconds: float
    """For all due schedules; extrapolated if measured on a sample."""
    processor_seconds: float
    """CPU time of the process, which is independent of other load."""
    memory_peak_mib: float


def median_ms(seconds: Sequence[float]) -> float:
    """The median in milliseconds; 0 if empty."""
    return median(seconds) * 1000 if seconds else 0.0


def timed(action: Callable[[], object]) -> float:
    """How many seconds the action takes."""
    start = perf_counter()
    action()
    return perf_counter() - start
