"""Cron: the slots of an expression in a zone, by the rules of Debian's cron.

cronsim matches the expression against naive wall-clock times, which are converted to UTC here. So clock
changes of any size are handled alike, in both directions. (cronsim's own handling of zones skips slots when
the clock moves by half an hour, and may return a slot before the given time.)

- A job with fixed times (neither minute nor hour begins with ``*``) runs once a day: a time in the
  spring-forward gap runs at the end of the gap, a time in the fall-back fold at its first occurrence.
- A job whose minute or hour begins with ``*`` follows the wall clock: it runs whenever the clock shows a
  matching time, so never in a gap and in both hours of a fold.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cronsim import CronSim

from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.cron_expression import CronRule, ParsedCron, parse
from jobledger.schedules.rules.slots import RESOLUTION

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Cron(CronRule):
    """A cron expression, evaluated in a zone."""

    @property
    def parsed(self) -> ParsedCron:
        return parse(self.expression)

    def first_after(self, at: datetime) -> datetime | None:
        wall = wallclock.to_wall(at, self.zone)
        first = self._first(wall, fold=0, after=at)
        if not self.parsed.follows_clock:
            return first
        folded = wallclock.fold_length(at, self.zone)
        if not folded:
            return first
        return _earlier(first, self._first(wall - folded, fold=1, after=at))

    def last_before(self, at: datetime) -> datetime | None:
        wall = wallclock.to_wall(at, self.zone)
        folded = wallclock.fold_length(at, self.zone)
        if not self.parsed.follows_clock:
            return self._last(wall + folded, fold=0, before=at)
        last = self._last(wall, fold=1, before=at)
        if not folded:
            return last
        return _later(last, self._last(wall + folded, fold=0, before=at))

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Day by day, and several times as fast as asking for one slot after the other."""
        slot = self.first_after(after)
        while slot is not None and slot < until:
            end = min(slot + _DAY, until)
            yield slot
            yield from self._steady(slot, end) if self._is_steady(slot, end) else super().between(slot, end)
            slot = self.first_after(end - RESOLUTION)

    def _is_steady(self, begin: datetime, end: datetime) -> bool:
        """Whether the zone's clock does not change between the two, nor shortly before them."""
        return wallclock.offset_at(begin - _DAY, self.zone) == wallclock.offset_at(end, self.zone)

    def _steady(self, after: datetime, until: datetime) -> Iterator[datetime]:
        offset = wallclock.to_wall(after, self.zone) - after.replace(tzinfo=None)
        last = until.replace(tzinfo=None) + offset
        for wall in CronSim(self.parsed.canonical, _whole_minute(after.replace(tzinfo=None) + offset)):
            if wall >= last:
                return
            yield (wall - offset).replace(tzinfo=UTC)

    def _first(self, wall: datetime, *, fold: int, after: datetime) -> datetime | None:
        slots = self._to_utc(_walls_after(self.parsed.canonical, wall), fold=fold)
        return next((slot for slot in slots if slot > after), None)

    def _last(self, wall: datetime, *, fold: int, before: datetime) -> datetime | None:
        slots = self._to_utc(_walls_before(self.parsed.canonical, wall), fold=fold)
        return next((slot for slot in slots if slot < before), None)

    def _to_utc(self, walls: Iterator[datetime], *, fold: int) -> Iterator[datetime]:
        for wall in walls:
            slot = wallclock.to_utc(wall, self.zone, fold=fold)
            if slot is not None:
                yield slot
            elif not self.parsed.follows_clock:
                yield wallclock.end_of_gap(wall, self.zone)


def _walls_after(expression: str, wall: datetime) -> Iterator[datetime]:
    match: datetime | None = _whole_minute(wall)
    while match is not None and (match := _match_after(expression, match)) is not None:
        yield match


def _walls_before(expression: str, wall: datetime) -> Iterator[datetime]:
    whole = _whole_minute(wall)
    match: datetime | None = whole if whole == wall else whole + _MINUTE
    while match is not None and (match := _match_before(expression, match)) is not None:
        yield match


def _whole_minute(wall: datetime) -> datetime:
    # Most times are whole minutes already, and replace() is slow.
    is_whole = not (wall.second or wall.microsecond or wall.fold)
    return wall if is_whole else wall.replace(second=0, microsecond=0, fold=0)


# Only ever called with whole minutes, and many schedules share an expression, so most calls are cached.
@lru_cache(maxsize=8192)
def _match_after(expression: str, minute: datetime) -> datetime | None:
    return next(CronSim(expression, minute), None)


@lru_cache(maxsize=8192)
def _match_before(expression: str, minute: datetime) -> datetime | None:
    return next(CronSim(expression, minute, reverse=True), None)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((slot for slot in (one, other) if slot is not None), default=None)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((slot for slot in (one, other) if slot is not None), default=None)
