"""Planning: what happens to each slot of a schedule, and which slot is next. Pure: the time is an argument.

``plan`` takes the slots after ``handled_until`` that are due by ``now`` and accounts for each of them exactly
once: it runs, or is recorded as missed or skipped with the reason, or is held as the next slot until a pause
ends. A slot is due when its jitter has passed.

The first rule that applies decides:

1. It is paused: skipped; or held until the last pause in the way ends, if all pauses that cover it run the
   latest slot when they end. Only the newest slot is ever held, and once released it gives way to a newer one
   that is on time. A slot that no pause covers but that is planned during one is treated as if that pause
   covered it.
2. It is past its starting deadline, which counts from the slot even if a pause held it: missed.
3. It is planned less than ``misfire_grace`` after it was due: it runs, whatever the misfire policy. More than
   one can do so only where slots are closer together than the grace period, which cron's never are.
4. It is late: the misfire policy decides, but nothing late runs after the schedule has expired.

What the schedule's calendars leave out is none of these slots: it is recorded as skipped (``left_out``), one
record for all in a row on a day. A slot that they move is planned as of the time at which it is due instead.

After long downtime, only the newest slots of each span between the starts and ends of pauses get a record of
their own; one record covers all earlier ones, which are counted no further than ``MANY``. So the work is
bounded, however long the downtime was.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, pairwise

from jobledger.jobs.declaration import Misfire
from jobledger.reason import MANY
from jobledger.schedules.planning import left_out
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.planning.verdicts import (
    DueSlot,
    PlannedSlot,
    Situation,
    by_pauses,
    by_policy,
)
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Rule, Window, as_utc, next_slot, previous_slot

RECORD_LIMIT = 100
"""How many slots of a span are recorded one by one, in addition to those that may be caught up on."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to record now, and when to plan again."""

    records: tuple[PlannedSlot, ...]
    """Each slot once, oldest first: those to run, and those missed or skipped."""
    handled_until: datetime
    """Every slot up to here is recorded: the ``handled_until`` of the next plan."""
    next_slot: datetime | None
    """The first slot without a record: in the future, waiting for its jitter, or held."""
    due_at: datetime | None
    """When to plan again, always after ``now``. None if there is nothing more to do, or not until an
    open-ended pause is ended."""
    held: PlannedSlot | None = None
    """The next slot, if a pause holds it."""


@dataclass(frozen=True, kw_only=True)
class DueSlots:
    """All due slots after ``handled_until``, oldest first, and the slot after them."""

    slots: Sequence[DueSlot]
    following: datetime | None


def jitter_delay(jitter: timedelta, identity: str | int) -> timedelta:
    """A delay of whole seconds below ``jitter``, always the same for the same identity, on any machine."""
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
    """Account for every slot that became due after ``handled_until``, and find the next one.

    ``handled_until`` is the latest of: the last recorded slot, the time the schedule was created or enabled,
    and the time its timing was edited. So neither an edit nor re-enabling creates a slot in the past.
    ``pauses`` are those of the schedule and of the whole service, in any order. All that end after
    ``handled_until`` are needed; earlier ones make no difference.
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
    return _plan(situation, due_slots(situation))


def _plan(situation: Situation, due: DueSlots) -> Plan:
    unpaused = by_pauses(situation, due.slots)
    records = [*unpaused.skipped, *by_policy(situation, unpaused.candidates)]
    held = unpaused.held
    exceptions = left_out.of(
        situation, held.planned.scheduled_for if held else due.following, is_one_off_used=bool(due.slots)
    )
    records += exceptions.records
    records.sort(key=lambda record: record.scheduled_for)
    starts = None if due.following is None else due.following + situation.delay
    wake_ups = (starts, held.until if held else None, exceptions.due_at)
    return Plan(
        # Until here, slots are the times at which they are due.
        records=tuple(left_out.as_moved(situation, record) for record in records),
        handled_until=records[-1].scheduled_for if records else situation.handled_until,
        next_slot=held.planned.scheduled_for if held else due.following,
        due_at=min((wake_up for wake_up in wake_ups if wake_up is not None), default=None),
        held=left_out.as_moved(situation, held.planned) if held else None,
    )


def due_slots(situation: Situation) -> DueSlots:
    limit = _record_limit(situation.policy)
    slots: list[DueSlot] = []
    slot = _following(situation, situation.handled_until)
    while slot is not None and slot <= situation.horizon:
        if len(slots) == limit:
            return _abridged(situation)
        slots.append(DueSlot(slot=slot))
        slot = None if situation.window.one_off else _following(situation, slot)
    return DueSlots(slots=slots, following=slot)


def _following(situation: Situation, after: datetime) -> datetime | None:
    return next_slot(situation.rule, after, window=situation.window)


def _record_limit(policy: Policy) -> int:
    return RECORD_LIMIT + (policy.catch_up_limit if policy.misfire is Misfire.ALL else 0)


def _abridged(situation: Situation) -> DueSlots:
    spans = pairwise([situation.handled_until, *_edges(situation), situation.horizon])
    slots = [due for after, until in spans for due in _newest(situation, after, until)]
    return DueSlots(slots=slots, following=_following(situation, slots[-1].slot))


def _edges(situation: Situation) -> list[datetime]:
    """When pauses start and end. A slot at an edge is the newest of its span, so it has its own record."""
    times = {time for pause in situation.pauses for time in (pause.since, pause.until)}
    edges = {time for time in times if time is not None}
    return sorted(edge for edge in edges if situation.handled_until < edge < situation.horizon)


def _newest(situation: Situation, after: datetime, until: datetime) -> list[DueSlot]:
    limit = _record_limit(situation.policy)
    newest_first = list(islice(_backwards(situation, after, until), limit + 1 + MANY))
    singles, older = newest_first[:limit], newest_first[limit:]
    together = [DueSlot(slot=older[0], count=len(older))] if older else []
    return [*together, *(DueSlot(slot=slot) for slot in reversed(singles))]


def _backwards(situation: Situation, after: datetime, until: datetime) -> Iterator[datetime]:
    slot = previous_slot(situation.rule, until + RESOLUTION, window=situation.window)
    while slot is not None and slot > after:
        yield slot
        slot = previous_slot(situation.rule, slot, window=situation.window)
