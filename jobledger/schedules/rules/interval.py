"""Interval and clocked: rules of elapsed time, which no clock on the wall moves."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.schedules.rules.slots import Rule, RuleError, aware_field

_SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Interval(Rule):
    """A fixed grid of elapsed time: ``anchor + k * every``, for every whole k, without any drift."""

    every: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        if self.every < _SHORTEST:
            raise RuleError(f"every: {self.every} is shorter than a second", field="every")
        object.__setattr__(self, "anchor", aware_field(self.anchor, "anchor"))

    def first_after(self, moment: datetime) -> datetime | None:
        return self.anchor + ((moment - self.anchor) // self.every + 1) * self.every

    def last_before(self, moment: datetime) -> datetime | None:
        return self.anchor - ((self.anchor - moment) // self.every + 1) * self.every


@dataclass(frozen=True, kw_only=True)
class Clocked(Rule):
    """One time, once."""

    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", aware_field(self.at, "at"))

    def first_after(self, moment: datetime) -> datetime | None:
        return self.at if self.at > moment else None

    def last_before(self, moment: datetime) -> datetime | None:
        return self.at if self.at < moment else None
