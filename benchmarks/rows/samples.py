"""The sample jobs, compared to what a user would write first."""

import json
from collections.abc import Iterator
from statistics import median

from benchmarks import services
from benchmarks.copies import copied, writing
from benchmarks.rows.row import Figure, Of, Plan, Row, Target
from tests.integration.service import Service


def _emails(plan: Plan, database: str) -> Iterator[Figure]:
    count = plan.size(100_000 if database == "sqlite" else 50_000, 100)
    unit = f"users a second{_of_cpu(database)}"
    with services.started(services.OURS) as running:
        seconds = _done(running, "normalize_emails", count)
    yield Figure(
        title=f"normalize_emails, {count:,} users of which half change, {database}, {unit}",
        here=count / seconds["job"],
        peer=count / seconds["loop"],
        peer_title="a loop of `save()`",
        target=Target(limit=20, is_minimum=True),
    )


def _tokens(plan: Plan, database: str) -> Iterator[Figure]:
    count = plan.size(1_000_000, 1000)
    with services.started(services.OURS) as running:
        _done(running, "fill_tokens", count)
        # In turns, because the same way takes up to a third longer at another moment.
        turns = [
            [_watched(running, way) for way in ("cleanup_tokens", "delete_tokens")]
            for _ in range(plan.size(9, 1))
        ]
    title = f"cleanup_tokens, {count // 2:,} of {count:,}, {database}"
    figures = (
        ("cpu_seconds", "CPU s", median, Target(limit=1.2)),
        ("seconds", "s", median, None),
        ("wait", "longest wait of another writer, s", max, Target(limit=0.2, of=Of.VALUE)),
    )
    for name, unit, of_all, target in figures:
        here, peer = (of_all([turn[name] for turn in of_one_way]) for of_one_way in zip(*turns, strict=True))
        yield Figure(
            title=f"{title}, {unit}", here=here, peer=peer, peer_title="one `delete()`", target=target
        )


def _watched(running: Service, way: str) -> dict[str, float]:
    """In a copy of the database, while another process writes; its longest wait, in seconds, is "wait"."""
    with copied(running) as copy, writing(copy) as waits:
        return _done(copy, way, 0) | {"wait": max(waits())}


def _stats(plan: Plan, database: str) -> Iterator[Figure]:
    count = plan.size(200_000, 500)
    with services.started(services.OURS) as running:
        seconds = _done(running, "compute_daily_stats", count)
    yield Figure(
        title=f"compute_daily_stats, {count:,} orders of 365 days, {database}, days a second",
        here=365 / seconds["job"],
        peer=365 / seconds["loop"],
        peer_title="day by day",
        target=Target(limit=50, is_minimum=True),
    )


def _of_cpu(database: str) -> str:
    return " of CPU time" if database == "sqlite" else ""


def _done(running: Service, action: str, count: int) -> dict[str, float]:
    printed = services.output_of(running, "benchmarks.samples", action, "--count", str(count))
    result: dict[str, float] = json.loads(printed.splitlines()[-1])
    return result


ROWS = (
    Row(name="normalize-emails", databases=("sqlite", "postgres"), measure=_emails),
    Row(name="cleanup-tokens", databases=("sqlite",), measure=_tokens),
    Row(name="daily-stats", databases=("postgres",), measure=_stats),
)
