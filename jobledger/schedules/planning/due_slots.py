"""The slots of one schedule that are due at one moment, each by itself or many counted together.

The work is bounded however long nobody looked. The usual handful is walked through. After a long
absence, each stretch between the edges of pauses gives its newest slots one by one, and what lies
before them as a single entry. How many these are is not counted further than ``MANY``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise

from jobledger.models.run import MANY
from jobledger.schedules.planning.policy import Misfire, Pause, Policy
from jobledger.schedules.rules.slots import RESOLUTION, Rule, Window, next_slot, previous_slot

RECORD_LIMIT = 100
"""How many slots of one stretch get an entry of their own, beside those that may be caught up."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One schedule at one moment."""

    rule: Rule
    window: Window
    policy: Policy
    pauses: tuple[Pause, ...]
    handled_until: datetime
    now: datetime
    delay: timedelta
    """The schedule's jitter."""

    @property
    def horizon(self) -> datetime:
        """Slots up to here are due."""
        return self.now - self.delay

    def following(self, after: datetime) -> datetime | None:
        return next_slot(self.rule, after, window=self.window)


@dataclass(frozen=True, kw_only=True)
class DueSlot:
    """A slot that is due, or the newest of many that are counted together."""

    slot: datetime
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class DueSlots:
    """All slots after ``handled_until`` that are due, oldest first, and the one that follows."""

    slots: Sequence[DueSlot]
    following: datetime | None


def due_slots(situation: Situation) -> DueSlots:
    """Look from ``handled_until`` to the present."""
    most = _detail(situation.policy)
    slots: list[DueSlot] = []
    slot = situation.following(situation.handled_until)
    while slot is not None and slot <= situation.horizon:
        if len(slots) == most:
            return _many(situation)
        slots.append(DueSlot(slot=slot))
        slot = None if situation.window.one_off else situation.following(slot)
    return DueSlots(slots=slots, following=slot)


def _detail(policy: Policy) -> int:
    return RECORD_LIMIT + (policy.catch_up_limit if policy.misfire is Misfire.ALL else 0)


def _many(situation: Situation) -> DueSlots:
    stretches = pairwise([situation.handled_until, *_edges(situation), situation.horizon])
    slots = [due for after, until in stretches for due in _newest(situation, after, until)]
    return DueSlots(slots=slots, following=situation.following(slots[-1].slot))


def _edges(situation: Situation) -> list[datetime]:
    """Where pauses begin and end. A slot at an edge is the newest before it, so it is never counted in."""
    moments = {moment for pause in situation.pauses for moment in (pause.since, pause.until)}
    edges = {moment for moment in moments if moment is not None}
    return sorted(edge for edge in edges if situation.handled_until < edge < situation.horizon)


def _newest(situation: Situation, after: datetime, until: datetime) -> list[DueSlot]:
    most = _detail(situation.policy)
    newest_first = list(islice(_backwards(situation, after, until), most + 1 + MANY))
    singles, older = newest_first[:most], newest_first[most:]
    together = [DueSlot(slot=older[0], count=len(older))] if older else []
    return [*together, *(DueSlot(slot=slot) for slot in reversed(singles))]


def _backwards(situation: Situation, after: datetime, until: datetime) -> Iterator[datetime]:
    slot = previous_slot(situation.rule, until + RESOLUTION, window=situation.window)
    while slot is not None and slot > after:
        yield slot
        slot = previous_slot(situation.rule, slot, window=situation.window)
