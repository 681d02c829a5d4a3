"""One run of the benchmark: real servers, a fresh database for each measurement, all figures together."""

import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.candidates import CANDIDATES, Candidate
from benchmarks.figures import Burst, Filled, Steady
from tests.integration.service import ROOT, Service, service
from tests.with_postgres import IMAGE, postgres

DATABASES = ("sqlite", "postgres")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured."""

    database: str
    sizes: Sequence[int]
    burst: int
    """How many schedules are due at the same second; 0: that is not measured."""
    repeat: int
    is_stock_in_full: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was measured, by scheduler and number of schedules."""

    machine: str
    plan: Plan
    filled: dict[str, dict[int, Filled]] = field(default_factory=dict)
    steady: dict[str, dict[int, Steady]] = field(default_factory=dict)
    burst: dict[str, Burst] = field(default_factory=dict)


def compare(plan: Plan, say: Callable[[str], None]) -> Comparison:
    """Measure all that is planned; says what it is at."""
    made = Comparison(machine=_machine(plan.database), plan=plan)
    with _database_server(plan.database):
        for candidate in CANDIDATES.values():
            made.filled[candidate.name], made.steady[candidate.name] = {}, {}
        for size in plan.sizes:
            for candidate in CANDIDATES.values():
                say(f"{plan.database}: {candidate.title} with {size:,} schedules")
                _measure_steady(made, candidate, size)
        for candidate in CANDIDATES.values() if plan.burst else ():
            say(f"{plan.database}: {candidate.title} with {plan.burst:,} due at once")
            made.burst[candidate.name] = _burst(plan, candidate)
    return made


def _measure_steady(made: Comparison, candidate: Candidate, size: int) -> None:
    with _service(candidate) as running:
        filled = _measure(running, candidate, "fill", "--size", str(size))
        made.filled[candidate.name][size] = Filled.received(filled)
        repeat = str(min(made.plan.repeat, size))
        made.steady[candidate.name][size] = Steady.received(
            _measure(running, candidate, "steady", "--repeat", repeat)
        )


def _burst(plan: Plan, candidate: Candidate) -> Burst:
    full = ["--in-full"] if plan.is_stock_in_full else []
    with _service(candidate) as running:
        _measure(running, candidate, "fill", "--size", str(plan.burst), "--together")
        return Burst.received(_measure(running, candidate, "burst", "--repeat", str(plan.repeat), *full))


def _measure(running: Service, candidate: Candidate, action: str, *options: str) -> str:
    command = (sys.executable, "-m", "benchmarks.measure", action, candidate.name, *options)
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


@contextmanager
def _database_server(database: str) -> Iterator[None]:
    """``DATABASE_URL`` as the service's harness reads it."""
    given = os.environ.pop("DATABASE_URL", "")
    try:
        if database == "sqlite":
            yield
            return
        with postgres() as url:
            os.environ["DATABASE_URL"] = url
            yield
    finally:
        os.environ.pop("DATABASE_URL", None)
        if given:
            os.environ["DATABASE_URL"] = given


def _machine(database: str) -> str:
    """What kind of machine it is, without its name."""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    server = f"SQLite {sqlite3.sqlite_version}" if database == "sqlite" else f"{IMAGE}, without fsync"
    return f"{os.cpu_count()} cores, {system}, {server}"
