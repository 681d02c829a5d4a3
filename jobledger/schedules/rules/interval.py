"""Interval and clocked rules: elapsed time, unaffected by changes of the wall clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.schedules.rules.slots import Rule, RuleError, aware_field

_MIN_INTERVAL = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Interval(Rule):
    """A fixed grid of elapsed time, without drift: ``anchor + k * every`` for every integer k."""

    every: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        if self.every < _MIN_INTERVAL:
            raise RuleError(f"every: {self.every} is shorter than a second", field="every")
        object.__setattr__(self, "anchor", aware_field(self.anchor, "anchor"))

    def includes(self, at: datetime) -> bool:
        """Whether this is one of the times of the grid."""
        return not (at - self.anchor) % self.every

    def first_after(self, at: datetime) -> datetime | None:
        return self.anchor + ((at - self.anchor) // self.every + 1) * self.every

    def last_before(self, at: datetime) -> datetime | None:
        return self.anchor - ((self.anchor - at) // self.every + 1) * self.every


@dataclass(frozen=True, kw_only=True)
class Clocked(Rule):
    """A single slot at a fixed time."""

    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", aware_field(self.at, "at"))

    def first_after(self, at: datetime) -> datetime | None:
        return self.at if self.at > at else None

    def last_before(self, at: datetime) -> datetime | None:
        return self.at if self.at < at else None
