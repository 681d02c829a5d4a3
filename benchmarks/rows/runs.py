"""What a run that does nothing costs a worker, compared to a bare task that calls the same command.

Each worker has a beat beside it, as in every installation: it keeps SQLite's file open, and whoever closes
that last has more to do.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from statistics import median

from benchmarks import runs, services
from benchmarks.rows.row import Figure, Of, Plan, Row, Target
from tests.integration.service import Service
from tests.waiting import wait_until

WITH_RESULTS = "django-celery-results"
CALLS = """
import benchmarks.peer.celery
from benchmarks.peer.tasks import command
for number in range({count}):
    command.delay("noop")
"""
_SUCCEEDED = re.compile(r"^\[(\S+ \S+): INFO/\S+\] Task benchmarks\.peer\.\S+ succeeded", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of a run, with two children."""

    runs_per_second: float
    cpu_ms: float


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A service with a worker and a beat."""

    running: Service
    execute: Callable[[Service, int], list[datetime]]
    """Execute as many runs; returns when each ended."""

    def start(self, plan: Plan) -> None:
        """Start it. The first runs of a child import what the others need."""
        self.running.start_beat("beat")
        self.running.start_worker("runs")
        self.execute(self.running, plan.size(20, 2))

    def cost(self, count: int) -> Cost:
        """Of as many runs."""
        worker = self.running.processes["runs"].pid
        before = services.cpu_seconds(worker)
        times = self.execute(self.running, count)
        used = services.cpu_seconds(worker) - before
        seconds = (max(times) - min(times)).total_seconds()
        return Cost(runs_per_second=(count - 1) / max(seconds, 0.001), cpu_ms=used / count * 1000)


def _measure(plan: Plan, database: str) -> Iterator[Figure]:
    kinds = {"a bare task": services.PEER}
    if find_spec("django_celery_results"):
        kinds[WITH_RESULTS] = services.PEER_WITH_RESULTS
    with services.side_by_side(services.OURS, *kinds.values()) as (ours, *peers):
        contestants = [Contestant(running=ours, execute=_executed_here)]
        contestants += [Contestant(running=peer, execute=_executed_by_peer) for peer in peers]
        here, *others = _in_turns(contestants, plan)
    for title, peer in zip(kinds, others, strict=True):
        limit = 3.0 if title == WITH_RESULTS else 0.5
        yield Figure(
            title=f"runs a second that do nothing, 2 children, {database}",
            here=here.runs_per_second,
            peer=peer.runs_per_second,
            peer_title=title,
            target=Target(limit=limit, is_minimum=True),
        )
        yield Figure(
            title=f"CPU of the worker for each, {database}, ms",
            here=here.cpu_ms,
            peer=peer.cpu_ms,
            peer_title=title,
            target=Target(limit=6, of=Of.VALUE),
        )


def _in_turns(contestants: list[Contestant], plan: Plan) -> list[Cost]:
    """The medians of each, so that a disturbance of a second or two does not decide."""
    for each in contestants:
        each.start(plan)
    rounds = [[each.cost(plan.size(400, 5)) for each in contestants] for _ in range(plan.size(7, 1))]
    return [
        Cost(
            runs_per_second=median(cost.runs_per_second for cost in costs),
            cpu_ms=median(cost.cpu_ms for cost in costs),
        )
        for costs in zip(*rounds, strict=True)
    ]


def _executed_here(running: Service, count: int) -> list[datetime]:
    return runs.execute(running, count, {})


def _executed_by_peer(running: Service, count: int) -> list[datetime]:
    """When each task ended, according to the worker's log."""
    before = len(_ends(running))
    running.shell(CALLS.format(count=count))
    wait_until(lambda: len(_ends(running)) >= before + count, what="all tasks have succeeded")
    return _ends(running)[before:]


def _ends(running: Service) -> list[datetime]:
    return [datetime.fromisoformat(time) for time in _SUCCEEDED.findall(running.log("runs"))]


ROWS = (Row(name="runs", databases=("sqlite", "postgres"), measure=_measure),)
