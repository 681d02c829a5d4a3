"""The admin's pages with a million runs. What is compared to is the target; stock has no such pages."""

from collections.abc import Iterator

from benchmarks.pages.__main__ import measured
from benchmarks.rows.row import Figure, Of, Plan, Row, Target

TARGETS = ("home", "home, its timeline", "schedules", "schedules, second page", "a run with 1 MiB of output")
SCHEDULE = "a schedule"


def _measure(plan: Plan, database: str) -> Iterator[Figure]:
    runs = plan.size(1_000_000, 500)
    for page in measured(schedules=plan.size(1000, 30), runs=runs, repeat=plan.size(5, 1)):
        target = Target(limit=0.15, of=Of.VALUE) if page.page in TARGETS else None
        yield Figure(
            title=f"{page.page}, {runs:,} runs, {database}, CPU s", here=page.cpu_median, target=target
        )
        if page.page == SCHEDULE:
            yield Figure(
                title=f"{page.page}, {database}, queries",
                here=page.queries,
                target=Target(limit=12, of=Of.VALUE),
            )


ROWS = (
    # It fills a database with a million runs, and counts them.
    Row(name="pages", databases=("sqlite", "postgres"), measure=_measure, deadline_seconds=3600),
)
