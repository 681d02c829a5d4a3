"""The child processes of the shared worker as seen from outside: they are compared before and after jobs."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.integration.ledger import run_rows
from tests.integration.service import Service
from tests.waiting import wait_until

WORKER = "worker"
MAX_GROWTH_BYTES = 30 * 1024 * 1024
WITH_READER = 2
"""The threads of a child that keeps the one that reads output, from its first run until an isolated one."""
DESCRIPTORS_OF_READER = Counter({"pipe": 2, "anon_inode": 1})
SIGNAL_MASKS = ("SigBlk", "SigIgn", "SigCgt")


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


def state_of(process: psutil.Process, database: str) -> State:
    folder = Path(f"/proc/{process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    threads = process.num_threads()
    kept = _kept(database) + (DESCRIPTORS_OF_READER if threads >= WITH_READER else Counter())
    targets = {entry.name: str(entry.readlink()) for entry in (folder / "fd").iterdir()}
    return State(
        descendants=len(process.children(recursive=True)),
        threads=max(threads, WITH_READER),
        standard_streams=tuple(targets.pop(number, "closed") for number in "012"),
        # Without the numbers of sockets and pipes.
        descriptors=Counter(target.partition(":")[0] for target in targets.values()) - kept,
        signals=tuple(f"{name} {status[name].strip()}" for name in SIGNAL_MASKS),
        resident_bytes=process.memory_info().rss,
    )


def _kept(database: str) -> Counter[str]:
    """The files of one connection to SQLite: a child that has executed a job keeps it until the next one."""
    path = database.removeprefix("sqlite:///")
    return Counter(f"{path}{suffix}" for suffix in ("", "-wal", "-shm"))


def children(running: Service) -> dict[int, State]:
    """The worker's child processes, without any that is ending."""
    found = {}
    for process in psutil.Process(running.processes[WORKER].pid).children():
        try:
            found[process.pid] = state_of(process, running.database_url)
        except (OSError, psutil.Error, KeyError):
            continue
    return found


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


@contextmanager
def left_as_they_were(running: Service) -> Iterator[set[int]]:
    """At the end of the block, the children are as before it.

    Those whose ids the block adds to the set have been replaced instead.
    """
    before, replaced = settled(running), set[int]()
    yield replaced
    try:
        wait_until(lambda: not _differences(running, before, replaced), what="the processes are as before")
    except TimeoutError as error:
        found = "; ".join(_differences(running, before, replaced))
        raise AssertionError(f"{found}\n{running.story()}") from error


def _differences(running: Service, before: dict[int, State], replaced: Collection[int]) -> list[str]:
    after = children(running)
    kept = before.keys() - set(replaced)
    gone = [f"{pid} is gone" for pid in kept - after.keys()]
    stays = [f"{pid} was not replaced" for pid in after.keys() & set(replaced)]
    count = [f"{len(after)} instead of {len(before)} children"] if len(after) != len(before) else []
    changed = [
        f"{pid} {difference}"
        for pid in kept & after.keys()
        for difference in after[pid].differences(before[pid])
    ]
    return gone + stays + count + changed
