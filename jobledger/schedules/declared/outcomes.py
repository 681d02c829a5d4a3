"""What a sync did, or would do."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from jobledger.schedules.declared.values import LABELS

ENTRIES = "entries"
"""The field of a calendar."""
_LABELS = {**LABELS, ENTRIES: "Entries"}


class Action(StrEnum):
    """What a sync does with a schedule."""

    CREATE = "create"
    CHANGE = "change"
    ORPHAN = "orphan"
    """It is no longer declared, so it is disabled."""
    REVIVE = "revive"
    """It is declared again."""
    NONE = "none"
    LEAVE_DELETED = "leave deleted"
    """A user has deleted it."""
    LEAVE_ORPHANED = "leave orphaned"
    """It was disabled earlier; if it is enabled, a user has enabled it since."""
    NAME_TAKEN = "name taken"
    """Another schedule has its name."""


ACTIONS = (Action.CREATE, Action.CHANGE, Action.ORPHAN, Action.REVIVE)
"""Those that change something."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two values of a field, formatted, with secrets masked."""

    field: str
    stored: str
    code: str

    @property
    def label(self) -> str:
        return _LABELS[self.field]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a sync did, or would do, with a schedule or a calendar."""

    name: str
    """By which the code declares it."""
    job: str
    """Empty for a calendar."""
    action: Action
    stored_name: str = ""
    """Its name in the database; empty if it is not there."""
    changes: Sequence[Difference] = ()
    drift: Sequence[Difference] = ()
    edited: Sequence[Difference] = ()
    """What users have changed, and the code has not."""

    @property
    def is_calendar(self) -> bool:
        return not self.job

    @property
    def needs_attention(self) -> bool:
        """Whether something is to be changed, or to be decided."""
        return self.action in (*ACTIONS, Action.NAME_TAKEN) or bool(self.drift)
