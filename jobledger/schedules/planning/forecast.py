"""Forecast: how many runs of a schedule start in each of many spans of time. Pure: the time is an argument.

Considers the same slots as planning will, with the same jitter and pauses, but only counts them. So the
cost is bounded: the slots of an interval are counted without generating them, a cron expression has at most
one per minute, and schedules with the same rule share them. Slots that are already late are not included.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise

from jobledger.jobs.declaration import Misfire, PausedSlots
from jobledger.schedules.planning.planning import jitter_delay
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.interval import Interval
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Rule, Window, next_slot, previous_slot

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = 3_600_000_000
MAX_KEPT, MAX_KEPT_RANGE = 500, 25 * _HOUR
"""Of how many rules slots are kept, as many as the home shows schedules, and for how long a time at most."""
_NEVER = (datetime(9999, 1, 1, tzinfo=UTC) - _EPOCH) // RESOLUTION
# Times are integers, in microseconds: a forecast of many schedules compares hundreds of thousands of them.
_Span = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Starts:
    """The runs of a schedule that start in a span."""

    first: datetime
    count: int


class Forecast:
    """Forecasts many schedules over the spans between edges. A span includes its start but not its end."""

    def __init__(self, edges: Sequence[datetime]) -> None:
        """The edges are sorted, and the first one is now."""
        self._edges = [_number(edge) for edge in edges]
        self._slots, self._counts = cache(_slots), cache(self._counts_of)

    def starts(
        self,
        *,
        rule: Rule,
        policy: Policy,
        identity: str | int,
        handled_until: datetime,
        window: Window = ALWAYS,
        pauses: Sequence[PausePeriod] = (),
    ) -> Mapping[int, Starts]:
        """The runs of a schedule by the index of their span; spans without runs are left out.

        The arguments are those of ``planning.plan``.
        """
        jitter = jitter_delay(policy.jitter, identity)
        delay = _length(jitter)
        reach = self._reach(window, delay, _number(handled_until))
        left_out = tuple(_left_out(rule, reach))
        spans = tuple(_without(reach, iter((*_blocked(pauses, delay), *left_out))))
        once: list[int] = list(_released(rule, policy, window, pauses, handled_until, jitter))
        if window.one_off:
            first = next_slot(rule, max(handled_until, _time(reach[0]) - RESOLUTION), window=window)
            if first is not None and any(begin <= _number(first) < end for begin, end in spans):
                once.append(_number(first) + delay)
        return self._counts(_shared(rule), () if window.one_off else spans, delay, tuple(once))

    def _counts_of(
        self, rule: Rule, spans: Sequence[_Span], delay: int, once: Sequence[int]
    ) -> Mapping[int, Starts]:
        """The starts of all slots in these spans, and those at single times; the same for schedules alike."""
        found: dict[int, tuple[int, int]] = {}
        for span in spans:
            for first, count in self._counted(rule, span, delay):
                self._add(found, first, count)
        for start in once:
            self._add(found, start, 1)
        return {place: Starts(first=_time(first), count=count) for place, (first, count) in found.items()}

    def _reach(self, window: Window, delay: int, handled_until: int) -> _Span:
        """The range of slots whose runs start between the first and the last edge."""
        begin = max(self._edges[0] - delay, handled_until + 1)
        end = self._edges[-1] - delay
        if window.start_time is not None:
            begin = max(begin, _number(window.start_time))
        if window.expires is not None:
            # A run that has not started by then expires.
            end = min(end, _number(window.expires) - delay)
        return begin, end

    def _counted(self, rule: Rule, span: _Span, delay: int) -> Iterator[tuple[int, int]]:
        """Yield the first start and the number of starts, for a single slot or several in the same span."""
        begin, end = span
        length = self._edges[-1] - self._edges[0]
        if isinstance(rule, Interval) and length // _length(rule.every) > len(self._edges):
            yield from self._counted_on_grid(rule, span, delay)
            return
        # In whole hours: schedules with different jitter share them, and so do forecasts of the same hour.
        since, until = (self._edges[0] - delay) // _HOUR * _HOUR, -(-self._edges[-1] // _HOUR) * _HOUR
        slots = (_kept_slots if until - since <= MAX_KEPT_RANGE else self._slots)(rule, since, until)
        within = bisect_left(slots, begin), bisect_left(slots, end)
        if within[1] - within[0] <= len(self._edges):
            yield from ((slot + delay, 1) for slot in slots[slice(*within)])
            return
        places = [bisect_left(slots, edge - delay, *within) for edge in self._edges]
        for low, high in zip([within[0], *places], [*places, within[1]], strict=True):
            if low < high:
                yield slots[low] + delay, high - low

    def _counted_on_grid(self, rule: Interval, span: _Span, delay: int) -> Iterator[tuple[int, int]]:
        every, anchor = _length(rule.every), _number(rule.anchor)
        bounds = [
            span[0],
            *(edge - delay for edge in self._edges if span[0] < edge - delay < span[1]),
            span[1],
        ]
        # The number of the first slot at or after each bound.
        places = [-((anchor - bound) // every) for bound in bounds]
        for low, high in pairwise(places):
            if low < high:
                yield anchor + low * every + delay, high - low

    def _add(self, found: dict[int, tuple[int, int]], first: int, count: int) -> None:
        place = bisect_right(self._edges, first) - 1
        if 0 <= place < len(self._edges) - 1:
            known = found.get(place, (first, 0))
            found[place] = min(first, known[0]), count + known[1]


def _slots(rule: Rule, since: int, until: int) -> Sequence[int]:
    """The slots from ``since`` on and before ``until``."""
    return [_number(slot) for slot in rule.between(_time(since) - RESOLUTION, _time(until))]


_kept_slots = lru_cache(maxsize=MAX_KEPT)(_slots)
"""The same, kept: an open page asks for it again and again."""


def _shared(rule: Rule) -> Rule:
    """The rule whose slots are counted, without what is left out by spans: many schedules may have it."""
    return rule.base if isinstance(rule, CalendarRule) and not rule.use.is_moved else rule


def _left_out(rule: Rule, reach: _Span) -> Iterator[_Span]:
    """Where calendars leave out slots, unless they move them: then they are not counted by spans."""
    if not isinstance(rule, CalendarRule) or rule.use.is_moved or reach[0] >= reach[1]:
        return
    begin = reach[0]
    for since, until in rule.free(_time(reach[0]), _time(reach[1])):
        if begin < _number(since):
            yield begin, _number(since)
        begin = _number(until)
    if begin < reach[1]:
        yield begin, reach[1]


def _blocked(pauses: Sequence[PausePeriod], delay: int) -> Iterator[_Span]:
    """Where the slots are that do not start when they are due."""
    for pause in pauses:
        since, until = _number(pause.since), _NEVER if pause.until is None else _number(pause.until)
        # Those that are due in the pause.
        yield since - delay, until - delay
        if pause.on_resume is PausedSlots.SKIP:
            yield since, until


def _without(reach: _Span, blocked: Iterator[_Span]) -> Iterator[_Span]:
    begin, end = reach
    for since, until in sorted(blocked):
        if begin < min(since, end):
            yield begin, min(since, end)
        begin = max(begin, until)
    if begin < end:
        yield begin, end


def _released(
    rule: Rule,
    policy: Policy,
    window: Window,
    pauses: Sequence[PausePeriod],
    after: datetime,
    delay: timedelta,
) -> Iterator[int]:
    """When pauses end that then run their latest slot. Pauses that overlap others are left out."""
    for pause in pauses:
        others = [other for other in pauses if other is not pause]
        if pause.until is None or pause.on_resume is not PausedSlots.RUN_ONCE:
            continue
        if any(_meet(other, pause, delay) for other in others):
            continue
        slot = _last_slot(rule, window, after, pause.until - delay)
        if slot is None or slot + delay < pause.since:
            continue
        if not _is_too_late(slot, pause.until, pause, policy, window, delay):
            yield _number(pause.until)


def _last_slot(rule: Rule, window: Window, after: datetime, due_then: datetime) -> datetime | None:
    """The last slot before that time; None if there is none, or one is due exactly then and replaces it."""
    if window.one_off:
        slot = next_slot(rule, after, window=window)
    else:
        slot = previous_slot(rule, due_then, window=window)
        if slot is not None and next_slot(rule, slot, window=window) == due_then:
            return None
    return slot if slot is not None and after < slot < due_then else None


def _is_too_late(
    slot: datetime, until: datetime, pause: PausePeriod, policy: Policy, window: Window, delay: timedelta
) -> bool:
    """Whether a slot held by the pause is missed when it ends."""
    if window.expires is not None and window.expires <= until:
        return True
    held_up = until - delay - slot
    if policy.starting_deadline is not None and held_up > policy.starting_deadline:
        return True
    if slot >= pause.since or held_up < policy.misfire_grace:
        return False
    # It was due before the pause: the misfire policy decides.
    return policy.misfire is Misfire.SKIP


def _meet(one: PausePeriod, other: PausePeriod, delay: timedelta) -> bool:
    begins_before = other.until is None or one.since - delay <= other.until
    return begins_before and (one.until is None or other.since - delay <= one.until)


def _number(time: datetime) -> int:
    return (time - _EPOCH) // RESOLUTION


def _time(number: int) -> datetime:
    return _EPOCH + number * RESOLUTION


def _length(length: timedelta) -> int:
    return length // RESOLUTION
