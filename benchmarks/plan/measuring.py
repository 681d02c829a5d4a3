"""Measures the costs, each part by itself, with a PostgreSQL server in a container."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean

import psutil
import redis

from benchmarks import services
from benchmarks.databases import database_server, machine
from benchmarks.plan import burst
from benchmarks.plan.costs import CLAIMED_AT_ONCE, Costs
from benchmarks.plan.used import NO_AUTOVACUUM, Meter, Used, meter_of, prepared
from tests.integration.service import Service

CHILDREN = 2
IDLE_SECONDS = 4.0
HEARTBEAT_SECONDS = 0.05
"""Far more often than by default, so that they are more than what a worker uses anyway."""
OUTPUT_KIB = 64
PRUNED_AS_MANY = 20
"""For each run that is executed: a single one takes little, and the command has a start and an end."""
EXECUTED_SECONDS = 0.2
"""What a run takes at most on a machine that is very busy."""
POLL_SECONDS = 0.1
LIVE = {"queued", "running"}
STATUSES = "SELECT status, count(*) FROM jobledger_run WHERE job IN ('noop', 'work') GROUP BY status"


@dataclass(frozen=True, kw_only=True)
class Worker:
    """A worker that has executed something already."""

    pid: int
    idle_second: Used
    """What it and its database use while it has nothing to do, and is watched as if it had."""


def measured(count: int, *, beats: int = 120) -> Costs:
    """Measure with so many runs, and with long ones of so many heartbeats.

    Raises NotMeasuredError without Docker, and TimeoutError, which says of what, if a part takes too long.
    """
    variables = {"WORKER_CONCURRENCY": str(CHILDREN), "KEEP_RUNS": "1"}
    with (
        database_server("postgres", NO_AUTOVACUUM),
        services.started(services.OURS, **variables) as running,
        meter_of(running) as meter,
    ):
        return _Measurement(running, meter, count).costs(beats)


class _Measurement:
    def __init__(self, running: Service, meter: Meter, count: int) -> None:
        self._running, self._meter, self._count = running, meter, count
        self._few = max(count // 10, CHILDREN)

    def costs(self, beats: int) -> Costs:
        """Measure everything, one after the other."""
        parts = (
            self._of_slots(),
            self._of_runs(),
            self._of_heartbeats(beats),
            self._of_claims(),
            self._of_pruning(),
        )
        return Costs(
            machine=machine("postgres"),
            measured_on=datetime.now(UTC).date().isoformat(),
            **{name: value for part in parts for name, value in part.items()},
        )

    def _of_slots(self) -> dict[str, float]:
        _log(f"{self._count} schedules that are due at the same time")
        with burst.beats_waiting(self._running, self._meter, self._count) as (minute, (pid,)):
            before, start = self._redis_bytes(), self._meter.now(pid)
            burst.await_published(self._meter, self._count, minute)
            used, message_bytes = self._meter.now(pid) - start, (self._redis_bytes() - before) / self._count
            # Not before: on a busy machine, the minute may begin meanwhile.
            self._meter.forget_runs()
            self._meter.vacuum()
            used = used.beyond(self._while_idle(pid)).times(1 / self._count)
        self._running.forget_messages()
        return {
            "beat_ms_per_slot": used.own_ms,
            "database_ms_per_slot": used.database_ms,
            "wal_bytes_per_slot": used.wal_bytes,
            "redis_bytes_per_message": message_bytes,
        }

    def _of_runs(self) -> dict[str, float]:
        _log(f"{self._count} runs that do nothing")
        with self._worker("runs") as worker:
            run = self._executed(worker, self._count, {}).times(1 / self._count)
            table_bytes = self._meter.value("SELECT pg_total_relation_size('jobledger_run')")
            _log(f"{self._few} runs that write {OUTPUT_KIB} KiB")
            idle = self._executed(worker, self._few, {"seconds": 0})
            writing = self._executed(worker, self._few, {"seconds": 0, "kib": OUTPUT_KIB})
            output_bytes = self._meter.value("SELECT pg_total_relation_size('jobledger_runoutput')")
            child_bytes = _mean_bytes(psutil.Process(worker.pid).children())
        kib = self._few * OUTPUT_KIB
        return {
            "worker_ms_per_run": run.own_ms,
            "database_ms_per_run": run.database_ms,
            "wal_bytes_per_run": run.wal_bytes,
            "worker_ms_per_output_kib": max(writing.own_ms - idle.own_ms, 0) / kib,
            "table_bytes_per_output_kib": output_bytes / kib,
            "table_bytes_per_run": table_bytes / self._count,
            "child_mib": child_bytes / 1024**2,
        }

    def _of_heartbeats(self, beats: int) -> dict[str, float]:
        """Of a run that takes so long, compared to one that does nothing."""
        _log(f"{CHILDREN} runs of {beats * HEARTBEAT_SECONDS:g} s")
        with self._worker("heartbeats", HEARTBEAT_SECONDS=str(HEARTBEAT_SECONDS)) as worker:
            run = self._executed(worker, self._few, {"seconds": 0}).times(CHILDREN / self._few)
            beating = self._executed(worker, CHILDREN, {"seconds": (beats + 0.5) * HEARTBEAT_SECONDS})
        used = (beating - run).times(1 / (beats * CHILDREN))
        return {
            "worker_ms_per_heartbeat": max(used.own_ms, 0),
            "database_ms_per_heartbeat": max(used.database_ms, 0),
            "wal_bytes_per_heartbeat": max(used.wal_bytes, 0),
        }

    def _of_claims(self) -> dict[str, float]:
        _log(f"{self._count} claims, one by one and {CLAIMED_AT_ONCE} at a time")
        alone, in_bulk = (self._inside("claims", self._count, str(size)) for size in (1, CLAIMED_AT_ONCE))
        return {
            "worker_ms_per_claim": alone.own_ms,
            "database_ms_per_claim": alone.database_ms,
            "worker_ms_per_claim_in_bulk": in_bulk.own_ms,
            "database_ms_per_claim_in_bulk": in_bulk.database_ms,
        }

    def _of_pruning(self) -> dict[str, float]:
        count = self._count * PRUNED_AS_MANY
        _log(f"deleting {count} runs")
        used = self._inside("prune", count)
        return {"ms_per_pruned_run": used.own_ms + used.database_ms}

    def _inside(self, action: str, count: int, *arguments: str) -> Used:
        """What each of as many takes that a process of its own does."""
        with prepared(self._running, action, str(count), *arguments) as begin:
            self._meter.vacuum()
            before = self._meter.now()
            own_seconds = begin()
            used = self._meter.now() - before
        return Used(
            own_ms=own_seconds * 1000 / count,
            database_ms=used.database_ms / count,
            wal_bytes=used.wal_bytes / count,
        )

    def _executed(self, worker: Worker, count: int, options: dict[str, float]) -> Used:
        """What all of these runs take beside what an idle worker does."""
        with prepared(self._running, "runs", str(count), json.dumps(options)) as publish:
            self._meter.vacuum()
            before = self._meter.now(worker.pid)
            publish()
            self._await_executed(count, options)
            return (self._meter.now(worker.pid) - before).beyond(worker.idle_second)

    def _await_executed(self, count: int, options: dict[str, float]) -> None:
        within = 60 + count * (EXECUTED_SECONDS + options.get("seconds", 0))
        deadline = time.monotonic() + within
        while LIVE & (found := self._meter.counts(STATUSES)).keys():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{count} runs have not ended within {within:.0f} s: {found}")
            time.sleep(POLL_SECONDS)
        if found != {"succeeded": count}:
            raise RuntimeError(f"not all of {count} runs have succeeded: {found}")

    @contextmanager
    def _worker(self, name: str, **variables: str) -> Iterator[Worker]:
        self._running.start_worker(name, **variables)
        pid = self._running.processes[name].pid
        # The first ones of a child import the job.
        self._executed(Worker(pid=pid, idle_second=Used()), self._few, {})
        yield Worker(pid=pid, idle_second=self._while_idle(pid))
        self._running.stop(name)

    def _while_idle(self, pid: int) -> Used:
        """In a second, while nothing is executed, but waited for as if it were."""
        before, end = self._meter.now(pid), time.monotonic() + IDLE_SECONDS
        while time.monotonic() < end:
            self._meter.counts(STATUSES)
            time.sleep(POLL_SECONDS)
        used = self._meter.now(pid) - before
        return used.times(1 / used.seconds)

    def _redis_bytes(self) -> int:
        with redis.Redis(unix_socket_path=str(self._running.socket)) as client:
            return int(client.info("memory")["used_memory"])


def _mean_bytes(processes: Sequence[psutil.Process]) -> float:
    """Of memory, with their shares of what they share."""
    return fmean(each.memory_full_info().pss for each in processes)


def _log(text: str) -> None:
    sys.stderr.write(f"{text} …\n")
