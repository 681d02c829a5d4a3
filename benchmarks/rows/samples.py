"""The sample jobs, compared to what a user would write first."""

import json
from collections.abc import Iterator

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
        job, wait = _watched(running, "cleanup_tokens")
        one, wait_for_one = _watched(running, "delete_tokens")
    title = f"cleanup_tokens, {count // 2:,} of {count:,}, {database}"
    yield Figure(
        title=f"{title}, CPU s",
        here=job["cpu_seconds"],
        peer=one["cpu_seconds"],
        peer_title="one `delete()`",
        target=Target(limit=1.2),
    )
    yield Figure(title=f"{title}, s", here=job["seconds"], peer=one["seconds"], peer_title="one `delete()`")
    yield Figure(
        title=f"{title}, longest wait of another writer, s",
        here=wait,
        peer=wait_for_one,
        peer_title="one `delete()`",
        target=Target(limit=0.2, of=Of.VALUE),
    )


def _watched(running: Service, action: str) -> tuple[dict[str, float], float]:
    """In a copy of the database, while another process writes; returns the longest wait of that one, too."""
    with copied(running) as copy, writing(copy) as waits:
        return _done(copy, action, 0), max(waits())


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
