"""The rule of what starts after other schedules: it has no times of its own."""

from dataclasses import dataclass
from datetime import datetime

from jobledger.schedules.rules.slots import Rule


@dataclass(frozen=True, kw_only=True)
class Chained(Rule):
    """Due whenever runs of other schedules have ended, which no clock can tell."""

    after: tuple[str, ...]
    """The names of the schedules."""
    after_failure: bool = False
    """Whether it also starts if they have not succeeded."""

    def first_after(self, at: datetime) -> datetime | None:
        return None

    def last_before(self, at: datetime) -> datetime | None:
        return None


@dataclass(frozen=True, kw_only=True)
class Listed(Rule):
    """These times and no others."""

    times: tuple[datetime, ...]
    """Strictly increasing."""

    def first_after(self, at: datetime) -> datetime | None:
        return next((time for time in self.times if time > at), None)

    def last_before(self, at: datetime) -> datetime | None:
        return next((time for time in reversed(self.times) if time < at), None)
