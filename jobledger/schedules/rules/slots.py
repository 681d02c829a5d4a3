"""Slots: the times at which one schedule is due. Pure: no clock, no database.

A schedule is a rule (``Cron``, ``Interval``, ``Clocked``, ``Solar``) and a ``Window``. Datetimes passed in
must be aware (ValueError otherwise); datetimes returned are in UTC. Creating a rule or a window from invalid
data raises ``RuleError``, whose message names the field.

Slots are strictly increasing: ``next_slot`` is strictly after the given time, ``previous_slot`` strictly
before it, and on slots the two are inverses of each other.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

RESOLUTION = datetime.resolution
"""The smallest step between datetimes: turns "at or after" into "strictly after"."""


class RuleError(ValueError):
    """A schedule that cannot be evaluated. The message is for the user who wrote the schedule."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field
        """The invalid field, as the message names it; empty if it is not a single field."""


class Rule(ABC):
    """When something is due: a frozen value, unbounded in both directions. Takes and returns UTC."""

    @abstractmethod
    def first_after(self, at: datetime) -> datetime | None:
        """The earliest slot strictly after this time, or None if there is none."""

    @abstractmethod
    def last_before(self, at: datetime) -> datetime | None:
        """The latest slot strictly before this time, or None if there is none."""

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the slots after ``after`` and before ``until``, oldest first."""
        slot = _search(self.first_after, after)
        while slot is not None and slot < until:
            yield slot
            slot = _search(self.first_after, slot)


@dataclass(frozen=True, kw_only=True)
class Window:
    """The part of a rule's slots that a schedule uses."""

    start_time: datetime | None = None
    """Inclusive: there is no slot before it."""
    expires: datetime | None = None
    """Exclusive: there is no slot at or after it."""
    one_off: bool = False
    """Whether only the first slot is ever used."""

    def __post_init__(self) -> None:
        for field in ("start_time", "expires"):
            value = getattr(self, field)
            if value is not None:
                object.__setattr__(self, field, aware_field(value, field))

    def contains(self, slot: datetime) -> bool:
        has_begun = self.start_time is None or slot >= self.start_time
        return has_begun and (self.expires is None or slot < self.expires)


ALWAYS = Window()


def next_slot(rule: Rule, after: datetime, *, window: Window = ALWAYS) -> datetime | None:
    """The first slot strictly after this time, or None if there are no more."""
    bound = as_utc(after)
    if window.start_time is not None and window.start_time > bound:
        bound = window.start_time - RESOLUTION
    return _within(window, _search(rule.first_after, bound))


def previous_slot(rule: Rule, before: datetime, *, window: Window = ALWAYS) -> datetime | None:
    """The last slot strictly before this time, or None if there was none.

    Ignores ``one_off``: returns the slots that the schedule would have had without it.
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
    """Yield at most ``limit`` slots after ``after`` and up to and including ``until``, oldest first."""
    last = as_utc(until)
    max_count = 1 if window.one_off else limit
    found = 0
    slot = next_slot(rule, after, window=window)
    while slot is not None and slot <= last and (max_count is None or found < max_count):
        yield slot
        found += 1
        slot = next_slot(rule, slot, window=window)


def as_utc(at: datetime) -> datetime:
    """Convert to UTC. Raises ValueError for a naive datetime, which is a programming error."""
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no time zone")
    return at if at.tzinfo is UTC else at.astimezone(UTC)


def aware_field(value: datetime, field: str) -> datetime:
    """Convert a field of a schedule to UTC. Raises RuleError for a naive datetime, which is invalid data."""
    if value.utcoffset() is None:
        raise RuleError(f"{field}: {value.isoformat()} has no time zone", field=field)
    return as_utc(value)


def _search(find: Callable[[datetime], datetime | None], bound: datetime) -> datetime | None:
    try:
        return find(bound)
    except OverflowError:
        # There are no slots outside datetime's range.
        return None


def _within(window: Window, slot: datetime | None) -> datetime | None:
    return slot if slot is not None and window.contains(slot) else None
