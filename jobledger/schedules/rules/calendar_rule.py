"""A rule limited by calendars: the times at which a schedule starts, once its calendars are considered.

The slots of ``base`` that no calendar touches are due at their own time. Outside the calendars to which the
schedule is limited there are no slots. A slot that a calendar leaves out is skipped, or moved: it is due at
the same local time of the next day on which nothing is left out then. Several slots may so be due at the same
time: the slot whose own time that is stands for all of them, or else the latest.

Every slot of ``base`` that is not outside is thus exactly one of: due at its own time; the ``origin`` of a
time to which it is moved; or ``left_out``.

All searches are bounded: nothing is found that is more than ``HORIZON`` away.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import NamedTuple
from zoneinfo import ZoneInfo

from jobledger.calendars.spans import DAY_MINUTES
from jobledger.calendars.use import MAX_MOVE_DAYS, Block, CalendarUse, days_after
from jobledger.reason import MANY
from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.celery_cron import CeleryCron
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.interval import Interval
from jobledger.schedules.rules.slots import (
    ALWAYS,
    RESOLUTION,
    Rule,
    RuleError,
    Window,
    next_slot,
    previous_slot,
    slots_between,
)

HORIZON = timedelta(days=9 * 366)
MAX_JUMPS = 1600
MAX_MOVED_PER_DAY = 24
"""More slots than this on a day cannot be moved."""
MAX_DAYS = 400
"""On which slots are searched that were moved there."""
_REACH = timedelta(days=MAX_MOVE_DAYS)
_MINUTE, _DAY = timedelta(minutes=1), timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Slots in a row that the same entry of a calendar leaves out on a day."""

    slot: datetime
    """The latest of them."""
    count: int
    """How many there are; ``1 + MANY`` means that many or more."""
    calendar: str
    name: str
    covered_at: datetime | None = None
    """When the run is due that stands for the latest, since it would have been moved there."""
    has_no_other_day: bool = False
    """Whether the latest would be moved, but calendars or the schedule's end leave no day for that."""


class _Stretch(NamedTuple):
    """A block as times in UTC."""

    block: Block
    begin: datetime
    end: datetime


@dataclass(frozen=True, kw_only=True)
class CalendarRule(Rule):
    """The times at which a schedule with calendars starts. Raises RuleError if its slots cannot be moved."""

    base: Rule
    use: CalendarUse
    zone: ZoneInfo
    """A day of a calendar is a day in this zone."""
    window: Window = ALWAYS
    """The part of the slots of ``base`` that the schedule uses."""

    def __post_init__(self) -> None:
        if self.use.is_moved and self.use.not_on and _is_dense(self.base):
            message = (
                f"calendars: what is due more than {MAX_MOVED_PER_DAY} times a day cannot be moved to "
                "another day; choose to skip it"
            )
            raise RuleError(message, field="calendars")

    def first_after(self, at: datetime) -> datetime | None:
        own = self._first_own(at)
        if not self.use.is_moved:
            return own
        last = self._day(at + HORIZON if own is None else own)
        for day in takewhile(lambda day: day <= last, self._days_from(self._day(at))):
            later = [start for start in _moved(self, day) if start > at]
            if later:
                return min(later) if own is None else min(own, *later)
        return own

    def last_before(self, at: datetime) -> datetime | None:
        own = self._last_own(at)
        if not self.use.is_moved:
            return own
        first = self._day(at - HORIZON if own is None else own)
        for day in takewhile(lambda day: day >= first, self._days_back_from(self._day(at))):
            earlier = [start for start in _moved(self, day) if start < at]
            if earlier:
                return max(earlier) if own is None else max(own, *earlier)
        return own

    def origin(self, start: datetime) -> datetime:
        """The slot that is due at this time, which is one of the rule's; another one if it was moved."""
        return _moved(self, self._day(start)).get(start, start) if self.use.is_moved else start

    def moved_across(self, at: datetime) -> Mapping[datetime, datetime]:
        """The times after this one to which slots up to it are moved, with these slots."""
        if not self.use.is_moved:
            return {}
        days = (self._day(at) + number * _DAY for number in range(MAX_MOVE_DAYS + 1))
        moved = (pair for day in days for pair in _moved(self, day).items())
        return {start: slot for start, slot in moved if slot <= at < start}

    def runs(self, slot: datetime) -> bool:
        """Whether a slot of ``base`` has a run, at its own time or another."""
        found = self._stretch(slot)
        return found is None or (found.block.is_left_out and self.use.is_moved and self._is_moved(slot))

    def why_moved(self, slot: datetime) -> tuple[str, str]:
        """The calendar that leaves out the slot, and its entry."""
        found = self._stretch(slot)
        return (found.block.calendar, found.block.name) if found else ("", "")

    def left_out(self, after: datetime, before: datetime, *, is_cut: bool = False) -> Iterator[LeftOut]:
        """What is left out after one time and before another, oldest first, and is not moved.

        With the whole of the last stretch, unless ``is_cut``.
        """
        for stretch in self._stretches(after, before):
            until = min(stretch.end, before) if is_cut else stretch.end
            if stretch.block.is_left_out and (found := self._left_out_in(stretch, after, until)):
                yield found

    def free(self, after: datetime, before: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The spans in which slots run at their own time; each includes its start, but not its end."""
        begin = after
        for stretch in self._all_stretches(after, before):
            if begin < stretch.begin:
                yield begin, min(stretch.begin, before)
            begin = max(begin, stretch.end)
        if begin < before:
            yield begin, before

    def _first_own(self, at: datetime) -> datetime | None:
        slot = next_slot(self.base, at, window=self.window)
        for _ in range(MAX_JUMPS):
            if slot is None or slot - at > HORIZON:
                return None
            if (stretch := self._stretch(slot)) is None:
                return slot
            end = self._end_of_days(stretch, _is_blocked)
            slot = next_slot(self.base, end - RESOLUTION, window=self.window)
        return None

    def _last_own(self, at: datetime) -> datetime | None:
        slot = previous_slot(self.base, at, window=self.window)
        for _ in range(MAX_JUMPS):
            if slot is None or at - slot > HORIZON:
                return None
            if (stretch := self._stretch(slot)) is None:
                return slot
            slot = previous_slot(self.base, self._begin_of_days(stretch), window=self.window)
        return None

    def _days_from(self, day: date) -> Iterator[date]:
        """The days, from this one on, to which slots may be moved."""
        for _ in range(MAX_DAYS):
            yield day
            day += _DAY
            slot = next_slot(self.base, self._midnight(day - _REACH) - RESOLUTION, window=self.window)
            if slot is None:
                return
            day = max(day, self._day(slot) + _DAY)

    def _days_back_from(self, day: date) -> Iterator[date]:
        for _ in range(MAX_DAYS):
            yield day
            day -= _DAY
            slot = previous_slot(self.base, self._midnight(day), window=self.window)
            if slot is None:
                return
            day = min(day, self._day(slot) + _REACH)

    def _left_out_in(self, stretch: _Stretch, after: datetime, until: datetime) -> LeftOut | None:
        later = takewhile(lambda slot: slot > after, self._backwards(stretch.begin, until))
        slots: Iterator[datetime] = (
            slot for slot in later if not (self.use.is_moved and self._is_moved(slot))
        )
        newest = next(slots, None)
        if newest is None:
            return None
        if not self.use.is_moved:
            # From the other side, which is several times as fast.
            begin = max(stretch.begin - RESOLUTION, after)
            if self.window.start_time is not None:
                begin = max(begin, self.window.start_time - RESOLUTION)
            slots = self.base.between(begin, newest)
        covered_at = self._target(newest) if self.use.is_moved else None
        return LeftOut(
            slot=newest,
            count=1 + sum(1 for _ in islice(slots, MANY)),
            calendar=stretch.block.calendar,
            name=stretch.block.name,
            covered_at=covered_at,
            has_no_other_day=self.use.is_moved and covered_at is None,
        )

    def _backwards(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        slot = previous_slot(self.base, end, window=self.window)
        while slot is not None and slot >= begin:
            yield slot
            slot = previous_slot(self.base, slot, window=self.window)

    def _stretches(self, after: datetime, before: datetime) -> Iterator[_Stretch]:
        """The stretches with slots of ``base`` in them."""
        slot = next_slot(self.base, after, window=self.window)
        for _ in range(MAX_JUMPS):
            if slot is None or slot >= before:
                return
            if found := self._stretch(slot):
                yield found
                cursor = self._end_of_days(found, _is_outside) - RESOLUTION
            else:
                following = next(self._all_stretches(slot, slot + _DAY), None)
                # What begins exactly a day later is not among them: its first slot must still be found.
                free_until = following.begin if following else slot + _DAY
                cursor = max(slot, free_until - RESOLUTION)
            slot = next_slot(self.base, cursor, window=self.window)

    def _all_stretches(self, after: datetime, before: datetime) -> Iterator[_Stretch]:
        """The stretches, with slots or not, that end after one time and begin before another."""
        day, last = self._day(after), self._day(before)
        while day <= last:
            found = [
                _Stretch(block, *span)
                for block in self.use.blocks(day)
                for span in wallclock.spans_showing(_wall(day, block.begin), _wall(day, block.end), self.zone)
            ]
            # Those in an hour that the clock repeats alternate.
            for stretch in sorted(found, key=lambda each: each.begin):
                if stretch.end > after and stretch.begin < before:
                    yield stretch
            day += _DAY

    def _stretch(self, at: datetime) -> _Stretch | None:
        """The stretch that contains this time, up to the next clock change; None if nothing is left out."""
        wall = wallclock.to_wall(at, self.zone).replace(fold=0)
        minute = wall.hour * 60 + wall.minute
        for block in self.use.blocks(wall.date()):
            if block.begin <= minute < block.end:
                begin = at - (wall - _wall(wall.date(), block.begin))
                end = at + (_wall(wall.date(), block.end) - wall)
                return _Stretch(block, *_between_clock_changes(at, begin, end, self.zone))
        return None

    def _end_of_days(self, stretch: _Stretch, is_skipped: Callable[[Sequence[Block]], bool]) -> datetime:
        """The end of a stretch and of the days after it that are skipped: a search does not stop at each."""
        day = self._day(stretch.end)
        if stretch.end != self._midnight(day):
            return stretch.end
        for _ in range(HORIZON.days):
            if not is_skipped(self.use.blocks(day)):
                break
            day += _DAY
        return self._midnight(day)

    def _begin_of_days(self, stretch: _Stretch) -> datetime:
        """The same in the other direction, for days in which nothing runs."""
        day = self._day(stretch.begin)
        if stretch.begin != self._midnight(day):
            return stretch.begin
        for _ in range(HORIZON.days):
            if not _is_blocked(self.use.blocks(day - _DAY)):
                break
            day -= _DAY
        return self._midnight(day)

    def _midnight(self, day: date) -> datetime:
        return _to_utc(_wall(day, 0), self.zone)

    def _day(self, at: datetime) -> date:
        return wallclock.to_wall(at, self.zone).date()

    def _is_own(self, start: datetime) -> bool:
        is_slot = next_slot(self.base, start - RESOLUTION, window=self.window) == start
        return is_slot and self._stretch(start) is None

    def _is_moved(self, slot: datetime) -> bool:
        """Whether it is the slot that starts at the time to which it is moved."""
        target = self._target(slot)
        return target is not None and self.origin(target) == slot

    def _moved_on(self, slot: datetime, day: date) -> datetime | None:
        """The time of this day to which the slot is moved; None if it is not, or has a slot of its own."""
        at = _to_utc(datetime.combine(day, wallclock.to_wall(slot, self.zone).time()), self.zone)
        # Cheaper than a search for the time to which it is moved.
        if self._stretch(at) or self._is_own(at):
            return None
        return at if self._target(slot) == at else None

    def _target(self, slot: datetime) -> datetime | None:
        wall = wallclock.to_wall(slot, self.zone)
        for day in days_after(wall.date()):
            at = _to_utc(datetime.combine(day, wall.time()), self.zone)
            if self._stretch(at) is None:
                return at if self.window.contains(at) else None
        return None

    def moved_to(self, day: date) -> Iterator[tuple[datetime, datetime]]:
        """Yield the times on this day to which slots are moved, with those slots, the latest first."""
        if any(block.is_whole_day for block in self.use.blocks(day)):
            return
        for number in range(1, MAX_MOVE_DAYS + 1):
            earlier = day - number * _DAY
            # Slots are moved across blocks of any kind.
            if not self.use.blocks(earlier):
                return
            for slot in _left_out_on(self, earlier):
                if target := self._moved_on(slot, day):
                    yield target, slot

    def left_out_on(self, day: date) -> Iterator[datetime]:
        """The slots of this day that a calendar leaves out, moved or not."""
        begin, end = self._midnight(day) - RESOLUTION, self._midnight(day + _DAY) - RESOLUTION
        for slot in slots_between(self.base, begin, end, window=self.window):
            found = self._stretch(slot)
            if found is not None and found.block.is_left_out:
                yield slot


@lru_cache(maxsize=8192)
def _left_out_on(rule: CalendarRule, day: date) -> tuple[datetime, ...]:
    return tuple(rule.left_out_on(day))


@lru_cache(maxsize=8192)
def _moved(rule: CalendarRule, day: date) -> Mapping[datetime, datetime]:
    """The times on this day to which slots are moved, and for each the latest slot that is."""
    found: dict[datetime, datetime] = {}
    for target, slot in rule.moved_to(day):
        found[target] = max(slot, found.get(target, slot))
    return found


def _is_blocked(blocks: Sequence[Block]) -> bool:
    """Whether nothing runs on the whole day."""
    return sum(block.end - block.begin for block in blocks) == DAY_MINUTES


def _is_outside(blocks: Sequence[Block]) -> bool:
    """Whether the whole day is outside the calendars to which the schedule is limited."""
    return [(block.is_left_out, block.is_whole_day) for block in blocks] == [(False, True)]


def _wall(day: date, minute: int) -> datetime:
    return datetime.combine(day, datetime.min.time()) + minute * _MINUTE


def _is_dense(rule: Rule) -> bool:
    match rule:
        case Cron():
            return len(rule.parsed.minutes) * len(rule.parsed.hours) > MAX_MOVED_PER_DAY
        case CeleryCron():
            return len(rule.parsed.minutes) > MAX_MOVED_PER_DAY
        case Interval(every=every):
            return every * MAX_MOVED_PER_DAY < _DAY
    return False


def _to_utc(wall: datetime, zone: ZoneInfo) -> datetime:
    """The first time at which the clock shows this, or the end of the gap that it is in."""
    wall = wall.replace(fold=0)
    return wallclock.to_utc(wall, zone, fold=0) or wallclock.end_of_gap(wall, zone)


def _between_clock_changes(
    at: datetime, begin: datetime, end: datetime, zone: ZoneInfo
) -> tuple[datetime, datetime]:
    """The part of a span that contains ``at``, up to clock changes, which may repeat a part of it."""
    offset = wallclock.offset_at(at, zone)
    if wallclock.offset_at(begin, zone) != offset:
        begin = wallclock.transition_between(begin, at, zone)
    if wallclock.offset_at(end - RESOLUTION, zone) != offset:
        end = wallclock.transition_between(at, end - RESOLUTION, zone)
    return begin, end
