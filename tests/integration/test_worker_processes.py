"""After each job, the worker's processes are as they were before it.

To audit another job, add it to ``PROBES``. A child that has to be replaced after the job says so there.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.ledger import call, release, run_rows, wait_for_end, wait_for_start
from tests.integration.service import Service
from tests.waiting import wait_until

WORKER = "worker"
MAX_GROWTH_BYTES = 30 * 1024 * 1024
SIGNAL_MASKS = ("SigBlk", "SigIgn", "SigCgt")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A job, and what it does to the child that executes it."""

    job: str
    options: Mapping[str, Any] = field(default_factory=dict)
    status: str = "succeeded"
    replaces_child: bool = False

    def __str__(self) -> str:
        return " ".join([self.job, *(f"{name}={value}" for name, value in self.options.items())])


PROBES = [
    Probe(job="probe", options={"words": ["hello"]}),
    Probe(job="probe", options={"crash": "on purpose"}, status="failed"),
    Probe(job="leaving", options={"settings_of_process": True}),
    Probe(job="plain_probe"),
    Probe(job="writing", options={"child": True}),
    Probe(job="spawning", options={"methods": ["fork"]}),
    # Multiprocessing's resource tracker goes on.
    Probe(job="spawning", options={"methods": ["spawn"]}, replaces_child=True),
    Probe(job="spawning", options={"kinds": ["orphan"]}, replaces_child=True),
    Probe(job="unclean", options={"way": "settings"}),
    Probe(job="unclean", options={"way": "standard-descriptors"}),
    Probe(job="unclean", options={"way": "session"}, replaces_child=True),
    Probe(job="unclean", options={"way": "event-loop"}, replaces_child=True),
    Probe(job="unclean", options={"way": "thread"}, replaces_child=True),
    Probe(job="unclean", options={"way": "all-descriptors"}, replaces_child=True),
    Probe(job="unclean", options={"way": "exit"}, status="lost", replaces_child=True),
]


@dataclass(frozen=True, kw_only=True)
class State:
    """A process as seen from outside."""

    descendants: int
    threads: int
    standard_streams: tuple[str, ...]
    descriptors: Counter[str]
    signals: tuple[str, ...]
    resident_bytes: int = field(compare=False)

    def differences(self, before: "State") -> list[str]:
        """What has come since, or is no longer the same."""
        found = [
            f"{name}: {getattr(before, name)} → {getattr(self, name)}"
            for name in ("descendants", "threads", "standard_streams", "signals")
            if getattr(before, name) != getattr(self, name)
        ]
        # A connection may have been closed.
        found += [f"descriptor: {name} ({count} more)" for name, count in self._more_descriptors(before)]
        grown = self.resident_bytes - before.resident_bytes
        return found + ([f"grown by {grown:,} bytes"] if grown > MAX_GROWTH_BYTES else [])

    def _more_descriptors(self, before: "State") -> list[tuple[str, int]]:
        return sorted((self.descriptors - before.descriptors).items())


def state_of(process: psutil.Process) -> State:
    folder = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    targets = {entry.name: str(entry.readlink()) for entry in (folder / "fd").iterdir()}
    return State(
        descendants=len(process.children(recursive=True)),
        threads=process.num_threads(),
        standard_streams=tuple(targets.pop(number, "closed") for number in "012"),
        # Without the numbers of sockets and pipes.
        descriptors=Counter(target.partition(":")[0] for target in targets.values()),
        signals=tuple(f"{name} {status[name].strip()}" for name in SIGNAL_MASKS),
        resident_bytes=process.memory_info().rss,
    )


def children(running: Service) -> dict[int, State]:
    """The worker's child processes, without any that is ending."""
    found = {}
    for process in psutil.Process(running.processes[WORKER].pid).children():
        try:
            found[process.pid] = state_of(process)
        except (OSError, psutil.Error, KeyError):
            continue
    return found


@pytest.fixture(scope="module")
def warm(running: Service) -> Service:
    """The service, each of whose children has executed a job: its modules are imported, it is connected."""
    count = int(running.variables["WORKER_CONCURRENCY"])
    runs = [call(running, "allowing", seconds=60) for _ in range(count)]
    for pk in runs:
        wait_for_start(running, pk)
    release(running, *runs)
    return running


# A new child has not been warmed up: those that replace one come last.
IN_ORDER = sorted(PROBES, key=lambda probe: probe.replaces_child)


@pytest.mark.parametrize("probe", IN_ORDER, ids=str)
def test_a_job_leaves_the_workers_processes_as_they_were(warm: Service, probe: Probe) -> None:
    before = settled(warm)
    row = wait_for_end(warm, call(warm, probe.job, **probe.options))
    assert (row.status, row.error if probe.status == "succeeded" else "") == (probe.status, "")
    replaced = {int(row.worker.rpartition(":")[2])} if probe.replaces_child else set[int]()

    def differences() -> list[str]:
        after = children(warm)
        gone = [f"{pid} is gone" for pid in before.keys() - replaced - after.keys()]
        stays = [f"{pid} was not replaced" for pid in replaced & after.keys()]
        count = [f"{len(after)} instead of {len(before)} children"] if len(after) != len(before) else []
        changed = [
            f"{pid} {difference}"
            for pid in before.keys() & after.keys() - replaced
            for difference in after[pid].differences(before[pid])
        ]
        return gone + stays + count + changed

    try:
        wait_until(lambda: not differences(), what="the processes are as before")
    except TimeoutError as error:
        raise AssertionError("; ".join(differences()) + f"\n{warm.story()}") from error


def settled(running: Service) -> dict[int, State]:
    """The children while no job is running."""
    wait_until(lambda: not run_rows(running, "status IN ('queued', 'running')"), what="no job is running")
    count = int(running.variables["WORKER_CONCURRENCY"])
    return wait_until(lambda: all_idle(running, count), what="all children are idle")


def all_idle(running: Service, count: int) -> dict[int, State]:
    """Empty while a child is still busy with the end of a run."""
    found = children(running)
    is_idle = len(found) == count and all(state.descendants == 0 for state in found.values())
    return found if is_idle and found == children(running) else {}
