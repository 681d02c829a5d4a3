"""Clock changes: when a zone's next ones come, and what becomes of a cron rule's times around them.

Pure. A change moves the clock on the wall forward (times in the *gap* never come on that day) or backward
(times in the *fold* come twice). By Debian cron's rules, which ``cron`` follows, a fixed time in a gap runs
at its end and one in a fold runs once, while a rule that follows the clock does as the clock does. Only cron
knows a clock on the wall: all other rules pass over every change unmoved.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from zoneinfo import ZoneInfo

from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Window, slots_between

HORIZON = timedelta(days=800)
"""How far ahead a zone's changes are looked for: those that come, come every year."""

_DAY = timedelta(days=1)
_UTC = ZoneInfo("UTC")


class Effect(StrEnum):
    """What a clock change does to times that it concerns."""

    NONE = "none"
    MOVED = "moved"
    """They fall into the gap and run together at its end."""
    SKIPPED = "skipped"
    """They fall into the gap and do not come."""
    ONCE = "once"
    """They fall into the fold and run at their first coming only."""
    TWICE = "twice"
    """They fall into the fold and run at both comings."""


@dataclass(frozen=True, kw_only=True)
class ClockChange:
    """One change of a zone's clock."""

    at: datetime
    zone: ZoneInfo

    @property
    def wall_before(self) -> datetime:
        """What the clock would show next."""
        return wallclock.wall_at(self.at - RESOLUTION, self.zone).replace(fold=0) + RESOLUTION

    @property
    def wall_after(self) -> datetime:
        """What it shows instead."""
        return wallclock.wall_at(self.at, self.zone).replace(fold=0)

    @property
    def is_forward(self) -> bool:
        return self.wall_after > self.wall_before

    @property
    def edges(self) -> tuple[datetime, datetime]:
        """The first reading that is leapt over or repeated, and the first that is not any more."""
        first, last = sorted((self.wall_before, self.wall_after))
        return first, last


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """What one clock change means for one rule."""

    change: ClockChange
    effect: Effect
    walls: tuple[datetime, ...] = ()
    """The times it concerns, as the clock shows them, oldest first."""
    slots: tuple[datetime, ...] = ()
    """The slots that these times become."""

    @property
    def sentence(self) -> str:
        """In words."""
        singular = len(self.walls) == 1
        return (_OF_ONE if singular else _OF_MANY)[self.effect].format(
            times=_times_in_words(self.walls), end=_shown(self.change.edges[1])
        )


_OF_ONE = {
    Effect.NONE: "No slot falls into the change.",
    Effect.MOVED: "{times} is leapt over: it runs at {end}, right after the leap.",
    Effect.SKIPPED: "{times} is leapt over and does not come; it goes on from {end}.",
    Effect.ONCE: "{times} comes twice: it runs the first time only.",
    Effect.TWICE: "{times} comes twice: it runs both times.",
}
_OF_MANY = {
    Effect.NONE: "No slot falls into the change.",
    Effect.MOVED: "{times} are leapt over: it runs once for all of them at {end}, right after the leap.",
    Effect.SKIPPED: "{times} are leapt over and do not come; it goes on from {end}.",
    Effect.ONCE: "{times} come twice: each runs the first time only.",
    Effect.TWICE: "{times} come twice: each runs both times.",
}


def next_changes(zone: ZoneInfo, after: datetime, count: int = 2) -> list[ClockChange]:
    """The zone's next changes after the moment; fewer where it has fewer."""
    return list(islice(_changes(zone, after.astimezone(UTC)), count))


def consequences(
    rule: Cron, after: datetime, *, window: Window = ALWAYS, count: int = 2
) -> list[Consequence]:
    """What the next changes of the rule's zone mean for it, as far as its window reaches."""
    changes = next_changes(rule.zone, after, count)
    return [_consequence(rule, change) for change in changes if window.contains(change.at)]


def _changes(zone: ZoneInfo, start: datetime) -> Iterator[ClockChange]:
    day, end = start, start + HORIZON
    while day < end:
        if wallclock.offset_at(day, zone) != wallclock.offset_at(day + _DAY, zone):
            yield ClockChange(at=wallclock.change_between(day, day + _DAY, zone), zone=zone)
        day += _DAY


def _consequence(rule: Cron, change: ClockChange) -> Consequence:
    walls = _walls(rule, change)
    if not walls:
        return Consequence(change=change, effect=Effect.NONE)
    follows_clock = rule.parsed.follows_clock
    if change.is_forward:
        effect = Effect.SKIPPED if follows_clock else Effect.MOVED
        slots = [] if follows_clock else [change.at]
    else:
        effect = Effect.TWICE if follows_clock else Effect.ONCE
        folds = (0, 1) if follows_clock else (0,)
        comings = (wall.replace(tzinfo=rule.zone, fold=fold) for fold in folds for wall in walls)
        slots = [coming.astimezone(UTC) for coming in comings]
    return Consequence(change=change, effect=effect, walls=walls, slots=tuple(slots))


def _walls(rule: Cron, change: ClockChange) -> tuple[datetime, ...]:
    """The rule's times among those that are leapt over or repeated."""
    # In a zone without changes a rule's slots are exactly the readings that it matches.
    even = Cron(expression=rule.expression, zone=_UTC)
    first, end = (edge.replace(tzinfo=UTC) - RESOLUTION for edge in change.edges)
    return tuple(slot.replace(tzinfo=None) for slot in slots_between(even, first, end))


def _times_in_words(walls: tuple[datetime, ...]) -> str:
    if len(walls) <= 2:
        return " and ".join(_shown(wall) for wall in walls)
    return f"{len(walls)} slots, {_shown(walls[0])} to {_shown(walls[-1])},"


def _shown(wall: datetime) -> str:
    return f"{wall:%H:%M}"
