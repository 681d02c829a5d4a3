"""How many beats, workers, connections and bytes a load needs, and what reaches its limit first. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.plan.costs import Costs

SECONDS_PER_DAY = 24 * 3600
GIB = 1024**3
USABLE = 0.7
"""The share of a core or a disk that a plan uses, so that there is room for what it does not know."""
PRUNING_SECONDS = 3600
"""``prune_runs`` runs once a night, and stops after an hour, unless it is told otherwise."""
PAUSES = 2
"""It takes as many times as long as its work, since each transaction is followed by a pause of its length."""
POSITIVE = ("runs_per_day", "peak_seconds", "heartbeat_seconds", "children", "worker_cores", "database_cores")
NOT_NEGATIVE = ("peak", "job_seconds", "job_cpu_seconds", "output_kib", "keep_days")


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is to be executed."""

    runs_per_day: float
    peak: float
    """How many of them are due at the same time."""
    peak_seconds: float
    """Within this time after the peak, the last of them should have started."""
    job_seconds: float
    """How long a job takes."""
    job_cpu_seconds: float
    output_kib: float
    keep_days: float
    heartbeat_seconds: float = 2.0
    children: int = 4
    """Of a worker."""
    worker_cores: float = 2.0
    """Of a machine that executes workers."""
    database_cores: float = 4.0
    max_connections: int = 100
    """Of the database: PostgreSQL's default."""


@dataclass(frozen=True, kw_only=True)
class Drain:
    """How long it takes until all runs of the peak have ended, at full speed and without any others."""

    workers: int
    seconds: float
    bound_by: str
    """What the others wait for."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the service that has a limit."""

    name: str
    used: float
    """The share of the limit; more than 1 cannot work."""
    detail: str
    remedy: str
    """What to change when it reaches its limit."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the load needs."""

    runs_per_second: float
    """On average."""
    runs_per_second_at_peak: float
    children: int
    workers: int
    machines: int
    """With ``worker_cores`` each."""
    beats: int
    """With a spare one."""
    connections: int
    database_cores: float
    """At the peak."""
    wal_gib_per_day: float
    disk_gib: float
    redis_mib: float
    """If nobody takes the messages of the peak."""
    children_gib: float
    """Memory, without what the jobs need."""
    seconds_until_published: float
    """After the peak, without the spare beat."""
    pruning_seconds: float
    """Of a day's runs."""
    parts: Sequence[Part]
    """The one that reaches its limit first comes first."""


def needs_of(load: Load, costs: Costs) -> Needs:
    """Compute it. Raises ValueError if the load is not possible."""
    _check(load)
    average = load.runs_per_day / SECONDS_PER_DAY
    at_peak = max(average, load.peak / load.peak_seconds)
    children = _children(load, costs, at_peak)
    workers = math.ceil(children / load.children)
    busy_cores = at_peak * _worker_ms(load, costs) / 1000
    working_beats = max(1, math.ceil(at_peak * costs.beat_ms_per_slot / 1000 / USABLE))
    published = load.peak * costs.beat_ms_per_slot / 1000 / working_beats
    pruning = load.runs_per_day * costs.ms_per_pruned_run * PAUSES / 1000
    database = at_peak * _database_ms(load, costs) / 1000
    connections = _connections(workers, children, working_beats + 1)
    return Needs(
        runs_per_second=average,
        runs_per_second_at_peak=at_peak,
        children=children,
        workers=workers,
        machines=max(1, math.ceil(busy_cores / (load.worker_cores * USABLE))),
        beats=working_beats + 1,
        connections=connections,
        database_cores=database,
        wal_gib_per_day=load.runs_per_day * _wal_bytes(load, costs) / GIB,
        disk_gib=load.runs_per_day * load.keep_days * _table_bytes(load, costs) / GIB,
        redis_mib=load.peak * costs.redis_bytes_per_message / 1024**2,
        children_gib=children * costs.child_mib / 1024,
        seconds_until_published=published,
        pruning_seconds=pruning,
        parts=sorted(
            _parts(load, costs, at_peak, database, pruning, connections), key=lambda part: -part.used
        ),
    )


def drained(
    load: Load, costs: Costs, workers: int, *, beats: int = 1, shared_cores: float | None = None
) -> Drain:
    """What so many workers need for the peak, each on a machine of its own with ``worker_cores``.

    With ``shared_cores``, they share a machine of as many cores with beat and the database. Raises
    ValueError if the load is not possible, or has no peak.
    """
    _check(load)
    if min(workers, beats) < 1 or load.peak <= 0:
        found = f"{workers} workers, {beats} beats and a peak of {load.peak:g}"
        raise ValueError(f"expected at least one worker, beat and run of a peak, got {found}")
    beat, worker, database = costs.beat_ms_per_slot, _worker_ms(load, costs), _database_ms(load, costs)
    children = _seconds_of_child(load, costs) / (workers * load.children)
    cores = {
        "beat": beat / 1000 / beats,
        "the workers' CPU": worker / 1000 / (workers * load.worker_cores),
        "the database's CPU": database / 1000 / load.database_cores,
    }
    if shared_cores is not None:
        cores = {
            "beat": beat / 1000 / beats,
            "the machine's CPU": (beat + worker + database) / 1000 / shared_cores,
        }
    seconds = {name: load.peak * each for name, each in {"the number of children": children, **cores}.items()}
    slowest = max(seconds, key=lambda name: seconds[name])
    return Drain(workers=workers, seconds=seconds[slowest] + load.job_seconds, bound_by=slowest)


def _check(load: Load) -> None:
    for names, is_allowed, expected in (
        ((*POSITIVE, *NOT_NEGATIVE), math.isfinite, "a finite number"),
        ((*POSITIVE, "max_connections"), lambda value: value > 0, "more than 0"),
        (NOT_NEGATIVE, lambda value: value >= 0, "at least 0"),
    ):
        for name in names:
            if not is_allowed(value := getattr(load, name)):
                raise ValueError(f"{name.replace('_', ' ')}: expected {expected}, got {value:g}")
    if load.peak > load.runs_per_day:
        raise ValueError(f"peak: {load.peak:g} runs are more than the {load.runs_per_day:g} of the day")


def _children(load: Load, costs: Costs, at_peak: float) -> int:
    """As many as have to be busy at the peak."""
    return max(1, math.ceil(at_peak * _seconds_of_child(load, costs)))


def _seconds_of_child(load: Load, costs: Costs) -> float:
    """How long a run occupies a child, which waits for the database meanwhile."""
    return load.job_seconds + (costs.worker_ms_per_run + costs.database_ms_per_run) / 1000


def _connections(workers: int, children: int, beats: int) -> int:
    """A child has one for the ledger and one for its job; workers, beats and a web server have theirs."""
    web = 2 * 8
    return 2 * children + workers + 3 * beats + web


def _heartbeats(load: Load) -> float:
    """Of a run."""
    return load.job_seconds / load.heartbeat_seconds


def _worker_ms(load: Load, costs: Costs) -> float:
    """Of a run, with its job."""
    service = (
        costs.worker_ms_per_run
        + _heartbeats(load) * costs.worker_ms_per_heartbeat
        + load.output_kib * costs.worker_ms_per_output_kib
    )
    return service + load.job_cpu_seconds * 1000


def _database_ms(load: Load, costs: Costs) -> float:
    """Of a run, without what its job asks the database for."""
    heartbeats = _heartbeats(load) * costs.database_ms_per_heartbeat
    return costs.database_ms_per_slot + costs.database_ms_per_run + heartbeats


def _wal_bytes(load: Load, costs: Costs) -> float:
    own = costs.wal_bytes_per_slot + costs.wal_bytes_per_run
    output = load.output_kib * costs.table_bytes_per_output_kib
    return own + output + _heartbeats(load) * costs.wal_bytes_per_heartbeat


def _table_bytes(load: Load, costs: Costs) -> float:
    return costs.table_bytes_per_run + load.output_kib * costs.table_bytes_per_output_kib


def _parts(
    load: Load, costs: Costs, at_peak: float, database: float, pruning: float, connections: int
) -> Sequence[Part]:
    return [
        Part(
            name="beat",
            used=at_peak * costs.beat_ms_per_slot / 1000,
            detail=f"one of them records and publishes {1000 / costs.beat_ms_per_slot:,.0f} runs a second",
            remedy="more beats, which share what is due; or spread the peak over more minutes, or by jitter",
        ),
        Part(
            name="database, CPU",
            used=database / load.database_cores,
            detail=f"{_database_ms(load, costs):.1f} ms a run, without the jobs' own queries",
            remedy="more cores, a higher HEARTBEAT_SECONDS, or fewer and longer jobs",
        ),
        Part(
            name="database, connections",
            used=connections / load.max_connections,
            detail=f"{connections:,} of {load.max_connections:,}",
            remedy="a higher max_connections, or PgBouncer",
        ),
        Part(
            name="pruning",
            used=pruning / PRUNING_SECONDS,
            detail=f"{costs.ms_per_pruned_run * PAUSES:.2f} ms a run with its pauses, for an hour each night",
            remedy="schedule prune_runs more often, or with a higher --max-minutes",
        ),
    ]
