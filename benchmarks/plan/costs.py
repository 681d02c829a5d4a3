"""What was measured: what single parts cost, and how long a burst takes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

FILE = Path(__file__).with_name("costs.json")
CLAIMED_AT_ONCE = 10
"""What claims in bulk were tried with."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """On one machine, with PostgreSQL. Milliseconds are CPU time of one core."""

    machine: str
    measured_on: str
    """A date."""
    beat_ms_per_slot: float
    """Of beat, if many are due at once: it plans the slot, records the run and publishes its message."""
    database_ms_per_slot: float
    wal_bytes_per_slot: float
    redis_bytes_per_message: float
    worker_ms_per_run: float
    """Of a run that does nothing: its message, its claim, its capture and its end."""
    database_ms_per_run: float
    wal_bytes_per_run: float
    worker_ms_per_claim: float
    """Contained in what a run costs."""
    database_ms_per_claim: float
    worker_ms_per_claim_in_bulk: float
    """The same per run if one statement claims ``CLAIMED_AT_ONCE`` of them, as the service does not."""
    database_ms_per_claim_in_bulk: float
    worker_ms_per_heartbeat: float
    database_ms_per_heartbeat: float
    wal_bytes_per_heartbeat: float
    worker_ms_per_output_kib: float
    table_bytes_per_output_kib: float
    table_bytes_per_run: float
    """With its indexes and what its updates leave behind, without output."""
    ms_per_pruned_run: float
    """Of the process that prunes and of the database."""
    child_mib: float
    """What a child of a worker holds, with its share of what it shares with the others."""

    @classmethod
    def read(cls, file: Path = FILE) -> Self:
        """Raises OSError without such a file, and ValueError or TypeError if it is of another version."""
        return cls(**json.loads(file.read_text()))

    def write(self, file: Path = FILE) -> None:
        """With three digits, so that the next measurement changes only what has changed."""
        figures = {name: _rounded(value) for name, value in asdict(self).items()}
        file.write_text(json.dumps(figures, indent=2) + "\n")


@dataclass(frozen=True, kw_only=True)
class Burst:
    """Runs that were due in the same minute. Milliseconds are CPU time of one core, for each run."""

    count: int
    beats: int
    workers: int
    children: int
    """Of a worker."""
    published_seconds: float
    """From the minute until the last message was seen to be published."""
    executed_seconds: float
    """From the minute until the last run had ended."""
    beat_ms: float
    worker_ms: float
    database_ms: float


def _rounded(value: str | float) -> str | float:
    return value if isinstance(value, str) else float(f"{value:.3g}")
