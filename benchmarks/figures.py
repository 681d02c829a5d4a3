"""What is measured: the figures of one scheduler, as they travel between processes and into the JSON file."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Anything that is printed by the process that measured it, and read by the one that compares."""

    def send(self) -> None:
        """Print them, as the last line of this process."""
        sys.stdout.write(f"{json.dumps(asdict(self))}\n")

    @classmethod
    def received(cls, output: str) -> Self:
        """From what the process has printed."""
        values: dict[str, Any] = json.loads(output.splitlines()[-1])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Filled(Figures):
    """A database with schedules in it."""

    adopted_seconds: float
    """How long it took to notice them all: they came by ``bulk_create``, which sends no signal."""


@dataclass(frozen=True, kw_only=True)
class Steady(Figures):
    """A scheduler with schedules of which none, or one, is due."""

    start_seconds: float
    """From nothing to the end of the first tick."""
    memory_before_mib: float
    """Of a process that has loaded everything but has no scheduler yet."""
    memory_after_mib: float
    """Of the same process after some idle ticks."""
    idle_tick_ms: float
    sleep_seconds: float
    """How long an idle tick lets beat sleep, when nothing is due sooner."""
    one_due_tick_ms: float
    save_ms: float
    """What ``save()`` of an edited schedule costs whoever edits it."""
    tick_after_save_ms: float
    """The next tick, after which beat knows the edit."""
    slice_ms: float
    """The slowest slice of reconciliation: the longest time that it adds to one tick."""
    pass_ms: float
    """All slices together."""
    slice_count: int
    sweep_every_seconds: float
    """How often edits that send no signal are looked for."""


@dataclass(frozen=True, kw_only=True)
class Burst(Figures):
    """Schedules that are due at the same second."""

    due: int
    measured_on: int
    """How many messages in Redis the measurement waited for."""
    seconds: float
    """For all that were due; in proportion, where it was measured on a part."""
    processor_seconds: float
    """What the process itself needed of it, whatever else the machine was doing."""
    memory_peak_mib: float


def median_ms(seconds: Sequence[float]) -> float:
    """The median, in milliseconds; 0 of nothing."""
    return median(seconds) * 1000 if seconds else 0.0


def timed(action: Callable[[], object]) -> float:
    """How many seconds it takes."""
    start = perf_counter()
    action()
    return perf_counter() - start
