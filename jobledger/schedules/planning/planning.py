"""Planning: what becomes of each slot of one schedule, and which one is next. Pure: the time is given.

``plan`` looks at the slots after ``handled_until`` that are due by ``now`` and accounts for each of
them exactly once: it is to run, it is recorded as missed or skipped with the reason why, or it is
held, as the next slot, until a pause ends. A slot is due once its jitter has passed.

They are decided in this order:

1. In a pause: skipped; or held until no pause is in the way any more, if every pause it lies in is to
   run its latest slot then. Only the newest slot is ever held, and when it is released it steps back
   for a newer one that is on time. A slot that lies in no pause but is noticed in one is treated as if
   it lay in that one.
2. Later than the starting deadline, which counts from the slot also where a pause held it: missed.
3. Noticed sooner than ``misfire_grace`` after it was due: it runs, whatever the misfire policy. More
   than one may do so only where slots are closer together than the grace, which cron's are not.
4. Late: by the misfire policy; but nothing late runs once the schedule has expired.

After a long absence only the newest slots of each stretch between the edges of pauses get a record each; one
record stands for those before them, whose number is not counted further than ``MANY``. So the work is bounded
however long nobody looked.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise

from jobledger.jobs.declaration import Misfire
from jobledger.reason import MANY, Reason, Why
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.planning.verdicts import (
    DueSlot,
    PlannedSlot,
    Situation,
    Verdict,
    by_pauses,
    by_policy,
)
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Rule, Window, as_utc, next_slot, previous_slot

RECORD_LIMIT = 100
"""How many slots of one stretch are recorded one by one, besides those that may be caught up."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to write down now, and when to look again."""

    records: tuple[PlannedSlot, ...]
    """Oldest first, each slot once; runs, missed and skipped ones."""
    handled_until: datetime
    """Every slot up to here has its record: the ``handled_until`` of the next plan."""
    next_slot: datetime | None
    """The first slot without a record: in the future, or waiting for its jitter, or held."""
    due_at: datetime | None
    """When to plan again, always after ``now``. None when there is nothing more to do, or not before
    somebody lifts a pause."""
    held: PlannedSlot | None = None
    """The next slot, when it is one that a pause holds back."""


@dataclass(frozen=True, kw_only=True)
class _DueSlots:
    """All slots after ``handled_until`` that are due, oldest first, and the one that follows."""

    slots: Sequence[DueSlot]
    following: datetime | None


def jitter_delay(jitter: timedelta, identity: str | int) -> timedelta:
    """A delay of whole seconds below ``jitter``, the same for one identity on every machine for ever."""
    seconds = jitter // timedelta(seconds=1)
    if not seconds:
        return timedelta(0)
    digest = hashlib.sha256(f"jitter:{identity}".encode()).digest()
    return timedelta(seconds=int.from_bytes(digest[:8]) * seconds >> 64)


def plan(
    *,
    rule: Rule,
    policy: Policy,
    identity: str | int,
    handled_until: datetime,
    now: datetime,
    window: Window = ALWAYS,
    pauses: Sequence[PausePeriod] = (),
) -> Plan:
    """Account for every slot that became due after ``handled_until``, and name the next one.

    ``handled_until`` is the latest of: the last slot that has a record, the time the schedule was
    made or enabled, the time its timing was edited. So neither an edit nor a re-enable creates
    a slot in the past. ``pauses`` are those of the schedule and of the whole service together, in any
    order: all that reach beyond ``handled_until``; older ones do no harm.
    """
    situation = Situation(
        rule=rule,
        window=window,
        policy=policy,
        pauses=tuple(pauses),
        handled_until=as_utc(handled_until),
        now=as_utc(now),
        delay=jitter_delay(policy.jitter, identity),
    )
    return _plan(situation, _due_slots(situation))


def overtaken(
    slot: datetime, *, due_at: datetime | None, policy: Policy, pauses: Sequence[PausePeriod], now: datetime
) -> PlannedSlot:
    """What becomes of a slot that had come but was not recorded yet when the times were edited."""
    if pause := next((pause for pause in pauses if pause.covers(now)), None):
        return PlannedSlot(scheduled_for=slot, verdict=Verdict.SKIPPED, why=pause.why(Reason.PAUSED))
    is_on_time = now - (due_at or slot) < policy.misfire_grace
    verdict = Verdict.RUN if is_on_time else Verdict.MISSED
    return PlannedSlot(scheduled_for=slot, verdict=verdict, why=Why.of(Reason.SCHEDULE_EDITED))


def _plan(situation: Situation, due: _DueSlots) -> Plan:
    unpaused = by_pauses(situation, due.slots)
    records = [*unpaused.skipped, *by_policy(situation, unpaused.candidates)]
    records.sort(key=lambda record: record.scheduled_for)
    held = unpaused.held
    starts = None if due.following is None else due.following + situation.delay
    wake_ups = (starts, held.until if held else None)
    return Plan(
        records=tuple(records),
        handled_until=records[-1].scheduled_for if records else situation.handled_until,
        next_slot=held.planned.scheduled_for if held else due.following,
        due_at=min((moment for moment in wake_ups if moment is not None), default=None),
        held=held.planned if held else None,
    )


def _due_slots(situation: Situation) -> _DueSlots:
    """Look from ``handled_until`` to the present."""
    most = _detail(situation.policy)
    slots: list[DueSlot] = []
    slot = _following(situation, situation.handled_until)
    while slot is not None and slot <= situation.horizon:
        if len(slots) == most:
            return _many(situation)
        slots.append(DueSlot(slot=slot))
        slot = None if situation.window.one_off else _following(situation, slot)
    return _DueSlots(slots=slots, following=slot)


def _following(situation: Situation, after: datetime) -> datetime | None:
    return next_slot(situation.rule, after, window=situation.window)


def _detail(policy: Policy) -> int:
    return RECORD_LIMIT + (policy.catch_up_limit if policy.misfire is Misfire.ALL else 0)


def _many(situation: Situation) -> _DueSlots:
    stretches = pairwise([situation.handled_until, *_edges(situation), situation.horizon])
    slots = [due for after, until in stretches for due in _newest(situation, after, until)]
    return _DueSlots(slots=slots, following=_following(situation, slots[-1].slot))


def _edges(situation: Situation) -> list[datetime]:
    """Where pauses begin and end. A slot at an edge is the newest before it, so it is never counted in."""
    times = {time for pause in situation.pauses for time in (pause.since, pause.until)}
    edges = {time for time in times if time is not None}
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
