"""Slots: the times at which one schedule is due. Pure: no clock, no database.

A schedule is a rule (``Cron``, ``Interval``, ``Clocked``, ``Solar``) and a ``Window``. Every time
given must be aware (ValueError otherwise); every time answered is in UTC. Bad data raises
``RuleError`` when the rule or the window is made, with a message that names the field.

Slots come in strictly increasing order, ``next_slot`` is strictly after the time given and
``previous_slot`` strictly before it, and the two are each other's inverse on slots.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

RESOLUTION = datetime.resolution
"""The smallest step of time: turns "at or after" into "strictly after"."""


class RuleError(ValueError):
    """A schedule that cannot be evaluated. The message is for the user who wrote the schedule."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        """The field that is wrong, by the name the message uses; empty when it is no single one."""


class Rule(ABC):
    """When something is due, for ever in both directions: a frozen value. Asked and answered in UTC."""

    @abstractmethod
    def first_after(self, moment: datetime) -> datetime | None:
        """The earliest slot strictly after the time, or None when there is none."""

    @abstractmethod
    def last_before(self, moment: datetime) -> datetime | None:
        """The latest slot strictly before the time, or None when there is none."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """The part of a rule's slots that a schedule uses."""

    start_time: datetime | None = None
    """No slot before it; a slot at this very time counts."""
    expires: datetime | None = None
    """No slot at or after it."""
    one_off: bool = False
    """Only one slot is ever taken: the first that the schedule meets."""

    def __post_init__(self) -> None:
        for field in ("start_time", "expires"):
            moment = getattr(self, field)
            if moment is not None:
                object.__setattr__(self, field, aware_field(moment, field))

    def contains(self, slot: datetime) -> bool:
        has_begun = self.start_time is None or slot >= self.start_time
        return has_begun and (self.expires is None or slot < self.expires)


ALWAYS = Window()


def next_slot(rule: Rule, after: datetime, *, window: Window = ALWAYS) -> datetime | None:
    """The first slot strictly after the time; None when there will be no more."""
    bound = as_utc(after)
    if window.start_time is not None:
        bound = max(bound, window.start_time - RESOLUTION)
    return _within(window, _search(rule.first_after, bound))


def previous_slot(rule: Rule, before: datetime, *, window: Window = ALWAYS) -> datetime | None:
    """The last slot strictly before the time; None when there was none.

    Of a ``one_off`` schedule, the slots it would have had.
    """
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
    """The slots after the one time and not after the other, oldest first, lazily, at most ``limit``."""
    last = as_utc(until)
    most = 1 if window.one_off else limit
    found = 0
    slot = next_slot(rule, after, window=window)
    while slot is not None and slot <= last and (most is None or found < most):
        yield slot
        found += 1
        slot = next_slot(rule, slot, window=window)


def as_utc(moment: datetime) -> datetime:
    """The same time in UTC. One without a zone is a programmer's mistake: ValueError."""
    if moment.utcoffset() is None:
        raise ValueError(f"{moment.isoformat()} has no time zone")
    return moment if moment.tzinfo is UTC else moment.astimezone(UTC)


def aware_field(moment: datetime, field: str) -> datetime:
    """A schedule's own time in UTC; one without a zone is bad data."""
    if moment.utcoffset() is None:
        raise RuleError(f"{field}: {moment.isoformat()} has no time zone", field=field)
    return as_utc(moment)


def _search(find: Callable[[datetime], datetime | None], bound: datetime) -> datetime | None:
    try:
        return find(bound)
    except OverflowError:
        # Beyond what a datetime can hold there are no slots.
        return None


def _within(window: Window, slot: datetime | None) -> datetime | None:
    return slot if slot is not None and window.contains(slot) else None
