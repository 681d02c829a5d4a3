"""Slots: the moments at which one schedule is due, within its window. Pure: no clock, no database.

A schedule is a rule (``Cron``, ``Interval``, ``Solar``, ``Clocked``) and a ``Window``. Every moment
given must be aware (ValueError otherwise); every moment answered is in UTC. Bad data raises
``RuleError`` when the rule or the window is made, with a message that names the field.

Slots come in strictly increasing order, ``next_slot`` is strictly after the moment given and
``previous_slot`` strictly before it, and the two are each other's inverse on slots.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.cron_expression import cron_expression
from jobledger.schedules.rules.rule import Rule, RuleError, as_utc, aware_field
from jobledger.schedules.rules.solar import Solar
from jobledger.schedules.rules.wallclock import zone_named

__all__ = [
    "ALWAYS",
    "RESOLUTION",
    "Clocked",
    "Cron",
    "Interval",
    "Rule",
    "RuleError",
    "Solar",
    "Window",
    "count_slots",
    "cron_expression",
    "next_slot",
    "previous_slot",
    "slots_between",
    "zone_named",
]

RESOLUTION = datetime.resolution
"""The smallest step of time: turns "at or after" into "strictly after"."""

_SHORTEST_INTERVAL = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Interval(Rule):
    """A fixed grid of elapsed time: ``anchor + k * every``, for every whole k, without any drift."""

    every: timedelta
    anchor: datetime

    def __post_init__(self) -> None:
        if self.every < _SHORTEST_INTERVAL:
            raise RuleError(f"every: {self.every} is shorter than a second", field="every")
        object.__setattr__(self, "anchor", aware_field(self.anchor, "anchor"))

    def first_after(self, moment: datetime) -> datetime | None:
        return self.anchor + ((moment - self.anchor) // self.every + 1) * self.every

    def last_before(self, moment: datetime) -> datetime | None:
        return self.anchor - ((self.anchor - moment) // self.every + 1) * self.every

    def count(self, after: datetime, until: datetime) -> int:
        steps = (until - self.anchor) // self.every - (after - self.anchor) // self.every
        return max(steps, 0)


@dataclass(frozen=True, kw_only=True)
class Clocked(Rule):
    """One moment, once."""

    at: datetime

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", aware_field(self.at, "at"))

    def first_after(self, moment: datetime) -> datetime | None:
        return self.at if self.at > moment else None

    def last_before(self, moment: datetime) -> datetime | None:
        return self.at if self.at < moment else None


@dataclass(frozen=True, kw_only=True)
class Window:
    """The part of a rule's slots that a schedule uses."""

    start_time: datetime | None = None
    """No slot before it; a slot at this very moment counts."""
    expires: datetime | None = None
    """No slot at or after it."""
    one_off: bool = False
    """Only one slot is ever taken: the first that the schedule meets."""
    spent: bool = False
    """Whether a ``one_off`` schedule has had its slot, run or not; then there are no more."""

    def __post_init__(self) -> None:
        for field in ("start_time", "expires"):
            moment = getattr(self, field)
            if moment is not None:
                object.__setattr__(self, field, aware_field(moment, field))

    @property
    def is_over(self) -> bool:
        return self.one_off and self.spent

    def contains(self, slot: datetime) -> bool:
        has_begun = self.start_time is None or slot >= self.start_time
        return has_begun and (self.expires is None or slot < self.expires)


ALWAYS = Window()


def next_slot(rule: Rule, after: datetime, *, window: Window = ALWAYS) -> datetime | None:
    """The first slot strictly after the moment; None when there will be no more."""
    if window.is_over:
        return None
    bound = as_utc(after)
    if window.start_time is not None:
        bound = max(bound, window.start_time - RESOLUTION)
    return _within(window, _search(rule.first_after, bound))


def previous_slot(rule: Rule, before: datetime, *, window: Window = ALWAYS) -> datetime | None:
    """The last slot strictly before the moment; None when there was none.

    Of a ``one_off`` schedule, the slots it would have had.
    """
    if window.is_over:
        return None
    bound = as_utc(before)
    if window.expires is not None:
        bound = min(bound, window.expires)
    return _within(window, _search(rule.last_before, bound))


def slots_between(
    rule: Rule,
    after: datetime,
    until: datetime,
    *,
    window: Window = ALWAYS,
    limit: int | None = None,
) -> Iterator[datetime]:
    """The slots after the one moment and not after the other, oldest first, lazily, at most ``limit``."""
    last = as_utc(until)
    most = 1 if window.one_off else limit
    found = 0
    slot = next_slot(rule, after, window=window)
    while slot is not None and slot <= last and (most is None or found < most):
        yield slot
        found += 1
        slot = next_slot(rule, slot, window=window)


def count_slots(rule: Rule, after: datetime, until: datetime, *, window: Window = ALWAYS) -> int:
    """How many slots ``slots_between`` would give, without walking through them where possible."""
    first, last = as_utc(after), as_utc(until)
    if window.start_time is not None:
        first = max(first, window.start_time - RESOLUTION)
    if window.expires is not None:
        last = min(last, window.expires - RESOLUTION)
    if window.is_over or last <= first:
        return 0
    count = rule.count(first, last)
    return min(count, 1) if window.one_off else count


def _search(find: Callable[[datetime], datetime | None], bound: datetime) -> datetime | None:
    try:
        return find(bound)
    except OverflowError:
        # Beyond what a datetime can hold there are no slots.
        return None


def _within(window: Window, slot: datetime | None) -> datetime | None:
    return slot if slot is not None and window.contains(slot) else None
