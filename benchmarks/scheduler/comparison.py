"""Runs the benchmark with real servers and a database for each scheduler, and collects the figures."""

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product

from benchmarks.databases import database_server, machine
from benchmarks.scheduler.candidates import CANDIDATES, Candidate
from benchmarks.scheduler.figures import Burst, Filled, Steady
from tests.integration.service import ROOT, Service, service

Bench = Sequence[tuple[Candidate, Service]]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure."""

    database: str
    sizes: Sequence[int]
    burst: int
    """How many schedules are due in the same second; 0: skip this measurement."""
    repeat: int
    is_stock_in_full: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The figures, by scheduler and number of schedules."""

    machine: str
    plan: Plan
    filled: dict[str, dict[int, Filled]] = field(default_factory=dict)
    steady: dict[str, dict[int, Steady]] = field(default_factory=dict)
    burst: dict[str, list[Burst]] = field(default_factory=dict)
    """In the order of measurement. The schedulers take turns, so that a disturbance affects both."""


def compare(plan: Plan, log: Callable[[str], None]) -> Comparison:
    """Measure everything in the plan, with the schedulers taking turns."""
    comparison = Comparison(machine=machine(plan.database), plan=plan)
    with ExitStack() as stack:
        stack.enter_context(database_server(plan.database))
        bench = [(each, stack.enter_context(_service(each))) for each in CANDIDATES.values()]
        for size, (candidate, running) in product(plan.sizes, bench):
            log(f"{plan.database}: {candidate.title} with {size:,} schedules")
            _measure_steady(comparison, candidate, running, size)
        if plan.burst:
            _measure_bursts(comparison, bench, log)
    return comparison


def _measure_steady(comparison: Comparison, candidate: Candidate, running: Service, size: int) -> None:
    filled = _measure(running, candidate, "fill", "--size", str(size))
    comparison.filled.setdefault(candidate.name, {})[size] = Filled.received(filled)
    repeat = str(min(comparison.plan.repeat, size))
    steady = _measure(running, candidate, "steady", "--repeat", repeat)
    comparison.steady.setdefault(candidate.name, {})[size] = Steady.received(steady)


def _measure_bursts(comparison: Comparison, bench: Bench, log: Callable[[str], None]) -> None:
    plan = comparison.plan
    full = ["--in-full"] if plan.is_stock_in_full else []
    for candidate, running in bench:
        _measure(running, candidate, "fill", "--size", str(plan.burst), "--together")
    for number, (candidate, running) in product(range(plan.repeat), bench):
        log(f"{plan.database}: {candidate.title} with {plan.burst:,} due at once ({number + 1})")
        burst = Burst.received(_measure(running, candidate, "burst", *full))
        comparison.burst.setdefault(candidate.name, []).append(burst)


def _measure(running: Service, candidate: Candidate, action: str, *options: str) -> str:
    command = (sys.executable, "-m", "benchmarks.scheduler.measure", action, candidate.name, *options)
    done = subprocess.run(
        command, cwd=ROOT, env=running.environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:])} failed:\n{done.stderr}")
    return done.stdout


@contextmanager
def _service(candidate: Candidate) -> Iterator[Service]:
    with service(DJANGO_SETTINGS_MODULE=candidate.settings, LOG_LEVEL="ERROR") as running:
        yield running
