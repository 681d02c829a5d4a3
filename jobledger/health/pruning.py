"""How large the ledger is, and whether old runs are deleted."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from jobledger import formats
from jobledger.conf import settings
from jobledger.health.problem import PartName, Problem, ProblemKind
from jobledger.retention import ledger_size

MAX_INTERVAL = timedelta(days=7)
"""It is pruned every night, unless a user has changed that."""


def size(pruned: datetime | None, now: datetime) -> str:
    """Such as ``1,234 runs, 5.6 MB, pruned 8 h ago``."""
    found = ledger_size.read()
    when = f"pruned {formats.relative(pruned, now)}" if pruned else "never pruned"
    return f"{found}, {formats.size(found.size_bytes)}, {when}"


def problems(pruned: datetime | None, now: datetime) -> Iterator[Problem]:
    """Nothing has been deleted for long, although something should be."""
    if settings.KEEP_DAYS is None:
        return
    since = pruned or ledger_size.oldest_run()
    if since is None or since >= now - MAX_INTERVAL:
        return
    for_so_long = formats.duration(now - since, parts=1)
    yield Problem(
        kind=ProblemKind.NOT_PRUNED,
        part=PartName.DATABASE,
        text=f"Old runs were last deleted {for_so_long} ago." if pruned else "Old runs were never deleted.",
        short=f"not pruned for {for_so_long}",
        advice="Otherwise the database keeps growing. Look at the last runs of the job prune_runs, and check "
        "that it has an enabled schedule. To keep all runs, set KEEP_DAYS to None.",
    )
