"""A rule: what every kind of schedule can answer, whatever it is made of.

A rule is a frozen value. It knows neither a clock nor a database: the moment is an argument. All
moments it is given and all that it answers are aware and in UTC. Bad data is refused when the rule
is made, with a ``RuleError`` that says which field is wrong and how.
"""

from abc import ABC, abstractmethod
from datetime import UTC, datetime


class RuleError(ValueError):
    """A schedule that cannot be evaluated. The message is for the person who wrote the schedule."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        """The field that is wrong, by the name the message uses; empty when it is no single one."""


class Rule(ABC):
    """When something is due, for ever in both directions. Windows and policies are not its business."""

    @abstractmethod
    def first_after(self, moment: datetime) -> datetime | None:
        """The earliest slot strictly after the moment, or None when there is none."""

    @abstractmethod
    def last_before(self, moment: datetime) -> datetime | None:
        """The latest slot strictly before the moment, or None when there is none."""

    def count(self, after: datetime, until: datetime) -> int:
        """How many slots lie after the one moment and not after the other.

        This walks from slot to slot; a rule that may have very many of them counts by arithmetic.
        """
        total = 0
        slot = self.first_after(after)
        while slot is not None and slot <= until:
            total += 1
            slot = self.first_after(slot)
        return total


def as_utc(moment: datetime) -> datetime:
    """The same moment in UTC. A moment without a zone is a programmer's mistake: ValueError."""
    if moment.utcoffset() is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def aware_field(moment: datetime, field: str) -> datetime:
    """A schedule's own moment in UTC; one without a zone is bad data."""
    if moment.utcoffset() is None:
        raise RuleError(f"{field}: {moment.isoformat()} has no time zone", field=field)
    return as_utc(moment)
