"""What a command costs that is started in a shell, compared to that of a minimal Django project."""

from collections.abc import Iterator
from statistics import median

from benchmarks import services
from benchmarks.rows.row import Figure, Plan, Row, Target
from tests.integration.service import Service

PEER_TITLE = "a minimal Django project"


def _cold(plan: Plan, database: str) -> Iterator[Figure]:
    with services.side_by_side(services.OURS, services.PEER) as both:
        here, peer = _medians(both, plan.size(8, 1), "hello")
    yield Figure(
        title="`manage.py hello`, cold, CPU s",
        here=here,
        peer=peer,
        peer_title=PEER_TITLE,
        target=Target(limit=1.25),
    )


def _lines(plan: Plan, database: str) -> Iterator[Figure]:
    count = plan.size(1_000_000, 1000)
    with services.side_by_side(services.OURS, services.PEER) as both:
        here, peer = _medians(both, plan.size(4, 1), "lines", "--count", str(count))
    yield Figure(
        title=f"{count:,} lines from the command line to a file, CPU s",
        here=here,
        peer=peer,
        peer_title="the same command without a record",
        target=Target(limit=1.3),
    )


def _medians(both: list[Service], repeat: int, *arguments: str) -> list[float]:
    """Without a first time, which compiles what it imports. They take turns."""
    seconds = [
        [
            services.cpu_of_command(each, *each.project.manage, *arguments, stdout=each.folder / "stdout")
            for each in both
        ]
        for _ in range(repeat)
    ]
    return [median(each) for each in zip(*(seconds[1:] or seconds), strict=True)]


ROWS = (
    Row(name="cold-command", databases=("sqlite",), measure=_cold),
    Row(name="lines", databases=("sqlite",), measure=_lines),
)
