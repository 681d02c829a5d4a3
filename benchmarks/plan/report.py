"""What is printed of a plan, and of bursts."""

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.plan.costs import Burst, Costs
from benchmarks.plan.planning import USABLE, Drain, Load, Needs, drained

BURST_COLUMNS = (
    *(
        "runs",
        "beats",
        "workers of … children",
        "runs a second",
        "published, s",
        "executed, s",
        "computed, s",
    ),
    *("CPU of beats, ms a run", "of the workers", "of the database"),
)


def of_plan(load: Load, needs: Needs, costs: Costs, drains: Sequence[Drain]) -> Iterator[str]:
    yield f"Costs of {costs.measured_on}: {costs.machine}"
    yield ""
    for title, facts in _facts(load, needs):
        yield f"{title:20} {', '.join(facts)}"
    if drains:
        yield ""
        yield "The peak has been executed, at full speed and without any other runs:"
    for each in drains:
        workers = (
            f"{each.workers:,} {'worker' if each.workers == 1 else 'workers'} of {load.children} children"
        )
        yield f"  after {each.seconds:,.0f} s with {workers}, bound by {each.bound_by}"
    yield ""
    yield f"What reaches its limit first (a plan should stay below {USABLE:.0%}):"
    for part in needs.parts:
        yield f"  {part.used:8.1%}  {part.name}: {part.detail}"
        if part.used > USABLE:
            yield f"            {part.remedy}"


def of_bursts(bursts: Iterable[Burst], costs: Costs, cores: int) -> Iterator[str]:
    """A table, each line as soon as it is measured.

    With what the costs predict, if beat, the workers and the database share these cores.
    """
    yield f"| {' | '.join(BURST_COLUMNS)} |"
    yield f"| --- |{' ---: |' * (len(BURST_COLUMNS) - 1)}"
    for each in bursts:
        computed = drained(_doing_nothing(each), costs, each.workers, beats=each.beats, shared_cores=cores)
        seconds = (each.published_seconds, each.executed_seconds, computed.seconds)
        rate = f"{each.count / each.executed_seconds:,.0f}"
        cpu_ms = (each.beat_ms, each.worker_ms, each.database_ms)
        yield (
            f"| {each.count:,} | {each.beats} | {each.workers} of {each.children} | {rate} | "
            f"{' | '.join(f'{value:,.0f}' for value in seconds)} | "
            f"{' | '.join(f'{value:.2f}' for value in cpu_ms)} |"
        )


def _doing_nothing(burst: Burst) -> Load:
    return Load(
        runs_per_day=burst.count,
        peak=burst.count,
        peak_seconds=1,
        job_seconds=0,
        job_cpu_seconds=0,
        output_kib=0,
        keep_days=0,
        children=burst.children,
    )


def _facts(load: Load, needs: Needs) -> Iterator[tuple[str, tuple[str, ...]]]:
    at_peak = f"{needs.runs_per_second_at_peak:,.1f} at the peak"
    yield "runs a second", (f"{needs.runs_per_second:,.1f}", at_peak)
    published = f"all of the peak are published after {needs.seconds_until_published:,.1f} s"
    yield "beats", (f"{needs.beats}, one of which is a spare", published)
    at_once = f"{needs.children:,} runs at the same time"
    yield "workers", (f"{needs.workers:,} of {load.children} children", at_once)
    memory = f"{needs.children_gib:,.1f} GiB of memory without what the jobs need"
    yield "their machines", (f"{needs.machines:,} of {load.worker_cores:g} cores", memory)
    connections = f"{needs.connections:,} connections"
    yield "database", (f"{needs.database_cores:,.2f} cores at the peak", connections)
    wal = f"{needs.wal_gib_per_day:,.1f} GiB of WAL a day"
    yield "  disk", (f"{needs.disk_gib:,.1f} GiB for {load.keep_days:g} days", wal)
    yield "  pruning", (f"{needs.pruning_seconds / 60:,.1f} minutes a day",)
    yield "Redis", (f"{needs.redis_mib:,.0f} MiB if nobody takes the messages of the peak",)
