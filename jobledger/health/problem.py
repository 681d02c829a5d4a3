"""A problem of the service: what is wrong with which part, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

MAX_NAMES = 4
"""How many names a sentence lists."""


def listed(names: Sequence[str]) -> str:
    """The first names, in order."""
    return ", ".join(names[:MAX_NAMES]) + (", …" if len(names) > MAX_NAMES else "")


class PartName(StrEnum):
    """A part of the service."""

    BEAT = "beat"
    WORKERS = "workers"
    BROKER = "broker"
    DATABASE = "database"
    SCHEDULES = "schedules"
    ALERTS = "alerts"


class ProblemKind(StrEnum):
    """The kind of a problem, so that pages can link to where it can be fixed."""

    PAUSED = "paused"
    NO_BEAT = "no beat"
    LATE_BEAT = "late beat"
    NO_WORKER = "no worker"
    IDLE_WORKERS = "idle workers"
    NO_BROKER = "no broker"
    UNREAD_QUEUE = "unread queue"
    OTHER_CODE = "other code"
    BROKEN_SCHEDULES = "broken schedules"
    BUSY_WORKERS = "busy workers"
    STALLED_WORKERS = "stalled workers"
    UNTAKEN_RUNS = "untaken runs"
    CLOCK_SET_BACK = "clock set back"
    CLOCK_OFFSET = "clock offset"
    DEAD_LETTERS = "dead letters"
    UNDELIVERED_ALERTS = "undelivered alerts"
    NOT_PRUNED = "not pruned"


MILD = (
    ProblemKind.PAUSED,
    ProblemKind.BUSY_WORKERS,
    ProblemKind.UNTAKEN_RUNS,
    ProblemKind.CLOCK_SET_BACK,
    ProblemKind.CLOCK_OFFSET,
    ProblemKind.DEAD_LETTERS,
    ProblemKind.UNDELIVERED_ALERTS,
    ProblemKind.NOT_PRUNED,
)
"""Intentional, or likely to resolve itself."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    kind: ProblemKind
    part: PartName
    text: str
    """What is wrong, as a sentence."""
    short: str
    """The same, to be displayed after the part's name. It is public, and has no names but those of queues."""
    advice: str
    """What to do, and what happens in the meantime."""
    queue: str = ""
    """The unread queue, if schedules name it."""
    schedule: tuple[int, str] | None = None
    """The id and the name of the schedule that causes it, if it is a single one."""
    schedules: int = 0
    """How many enabled schedules use the unread queue."""
    queued_runs: int = 0
    """How many runs wait in it."""
    runs: tuple[tuple[UUID, str], ...] = ()
    """The ids and jobs of the runs that cause it."""

    @property
    def is_mild(self) -> bool:
        return self.kind in MILD
