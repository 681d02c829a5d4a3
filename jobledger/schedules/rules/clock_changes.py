"""Clock changes: when a zone's next ones are, and how they affect a cron rule.

Pure. A change moves the wall clock forward (times in the *gap* do not occur on that day) or back (times in
the *fold* occur twice). By Debian cron's rules, which ``cron`` follows, a fixed time in a gap runs at its end
and one in a fold runs once, while a rule that follows the clock runs whenever the clock shows a match. By
Celery's rules (``celery_cron``), the first time in a gap runs later, and one in a fold runs once. Clock
changes do not affect any other rule.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice
from zoneinfo import ZoneInfo

from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import CronRule
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Window, slots_between

HORIZON = timedelta(days=800)
"""How far ahead to look for clock changes; a zone that has any has them every year."""

_DAY = timedelta(days=1)
_UTC = ZoneInfo("UTC")


class Effect(StrEnum):
    """What a clock change does to the times in it."""

    NONE = "none"
    MOVED = "moved"
    """They are in the gap and run together at its end."""
    DELAYED = "delayed"
    """They are in the gap; the first one runs as much later as the clock moves."""
    SKIPPED = "skipped"
    """They are in the gap and do not run."""
    ONCE = "once"
    """They are in the fold and run at their first occurrence only."""
    TWICE = "twice"
    """They are in the fold and run at both occurrences."""


@dataclass(frozen=True, kw_only=True)
class ClockChange:
    """A change of a zone's UTC offset."""

    at: datetime
    zone: ZoneInfo

    @property
    def wall_before(self) -> datetime:
        """What the wall clock would show without the change."""
        return wallclock.to_wall(self.at - RESOLUTION, self.zone).replace(fold=0) + RESOLUTION

    @property
    def wall_after(self) -> datetime:
        """What it shows instead."""
        return wallclock.to_wall(self.at, self.zone).replace(fold=0)

    @property
    def is_forward(self) -> bool:
        return self.wall_after > self.wall_before

    @property
    def edges(self) -> tuple[datetime, datetime]:
        """The wall-clock times between which times are skipped or repeated; the second is exclusive."""
        first, last = sorted((self.wall_before, self.wall_after))
        return first, last


@dataclass(frozen=True, kw_only=True)
class Consequence:
    """The effect of one clock change on one rule."""

    change: ClockChange
    effect: Effect
    walls: tuple[datetime, ...] = ()
    """The affected wall-clock times, oldest first."""
    slots: tuple[datetime, ...] = ()
    """The slots that these times become."""

    @property
    def sentence(self) -> str:
        sentences = _SINGULAR if len(self.walls) == 1 else _PLURAL
        end = self.change.edges[1]
        if self.effect is Effect.DELAYED:
            end = wallclock.to_wall(self.slots[0], self.change.zone)
        return sentences[self.effect].format(times=_format_walls(self.walls), end=_format_wall(end))


_SINGULAR = {
    Effect.NONE: "No runs are affected.",
    Effect.MOVED: "{times} is skipped by the clock: it runs at {end}, right after the change.",
    Effect.DELAYED: "{times} is skipped by the clock: it runs at {end} instead.",
    Effect.SKIPPED: "{times} is skipped by the clock and does not run; runs continue from {end}.",
    Effect.ONCE: "{times} occurs twice: it runs the first time only.",
    Effect.TWICE: "{times} occurs twice: it runs both times.",
}
_PLURAL = {
    Effect.NONE: "No runs are affected.",
    Effect.MOVED: "{times} are skipped by the clock: they run once, at {end}, right after the change.",
    Effect.DELAYED: "{times} are skipped by the clock: they run once, at {end}.",
    Effect.SKIPPED: "{times} are skipped by the clock and do not run; runs continue from {end}.",
    Effect.ONCE: "{times} occur twice: each runs the first time only.",
    Effect.TWICE: "{times} occur twice: each runs both times.",
}


def next_changes(zone: ZoneInfo, after: datetime, count: int = 2) -> list[ClockChange]:
    """The zone's next changes after this time, at most ``count``."""
    return list(islice(_changes(zone, after.astimezone(UTC)), count))


def consequences(
    rule: CronRule, after: datetime, *, window: Window = ALWAYS, count: int = 2
) -> list[Consequence]:
    """The effects of the next changes of the rule's zone that are within its window."""
    changes = next_changes(rule.zone, after, count)
    return [_consequence(rule, change) for change in changes if window.contains(change.at)]


def _changes(zone: ZoneInfo, start: datetime) -> Iterator[ClockChange]:
    day, end = start, start + HORIZON
    while day < end:
        if wallclock.offset_at(day, zone) != wallclock.offset_at(day + _DAY, zone):
            yield ClockChange(at=wallclock.transition_between(day, day + _DAY, zone), zone=zone)
        day += _DAY


def _consequence(rule: CronRule, change: ClockChange) -> Consequence:
    walls = _walls(rule, change)
    if not walls:
        return Consequence(change=change, effect=Effect.NONE)
    if not isinstance(rule, Cron):
        return _consequence_for_celery(rule, change, walls)
    follows_clock = rule.parsed.follows_clock
    if change.is_forward:
        effect = Effect.SKIPPED if follows_clock else Effect.MOVED
        slots = [] if follows_clock else [change.at]
    else:
        effect = Effect.TWICE if follows_clock else Effect.ONCE
        folds = (0, 1) if follows_clock else (0,)
        occurrences = (wall.replace(tzinfo=rule.zone, fold=fold) for fold in folds for wall in walls)
        slots = [occurrence.astimezone(UTC) for occurrence in occurrences]
    return Consequence(change=change, effect=effect, walls=walls, slots=tuple(slots))


def _consequence_for_celery(rule: CronRule, change: ClockChange, walls: tuple[datetime, ...]) -> Consequence:
    effect, run = (Effect.DELAYED, walls[:1]) if change.is_forward else (Effect.ONCE, walls)
    # Without a fold, the offset before the change applies, also to times in a gap.
    slots = tuple(wall.replace(tzinfo=rule.zone).astimezone(UTC) for wall in run)
    return Consequence(change=change, effect=effect, walls=walls, slots=slots)


def _walls(rule: CronRule, change: ClockChange) -> tuple[datetime, ...]:
    """The rule's times among those that are skipped or repeated."""
    # In a zone without changes, a rule's slots are exactly the wall-clock times that it matches.
    in_utc = replace(rule, zone=_UTC)
    first, end = (edge.replace(tzinfo=UTC) - RESOLUTION for edge in change.edges)
    return tuple(slot.replace(tzinfo=None) for slot in slots_between(in_utc, first, end))


def _format_walls(walls: tuple[datetime, ...]) -> str:
    if len(walls) <= 2:
        return " and ".join(_format_wall(wall) for wall in walls)
    return f"{len(walls)} times, {_format_wall(walls[0])} to {_format_wall(walls[-1])},"


def _format_wall(wall: datetime) -> str:
    return f"{wall:%H:%M}"
