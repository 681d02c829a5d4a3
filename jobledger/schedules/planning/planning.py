"""Planning: what becomes of each slot of one schedule, and which one is next. Pure: the moment is given.

``plan`` looks at the slots after ``handled_until`` that are due by ``now`` and accounts for each of
them exactly once: it is to run, it is recorded as missed or skipped with the reason why, or it is
held, as the next slot, until a pause ends. A slot is due once its jitter has passed.

They are judged in this order:

1. In a pause: skipped; or held until no pause is in the way any more, if every pause it lies in is to
   run its latest slot then. Only the newest slot is ever held, and when it is released it steps back
   for a newer one that is on time. A slot that lies in no pause but is noticed in one is treated as if
   it lay in that one.
2. Later than the starting deadline, which counts from the slot also where a pause held it: missed.
3. Noticed sooner than ``misfire_grace`` after it was due: it runs, whatever the misfire policy. More
   than one may do so only where slots are closer together than the grace, which cron's are not.
4. Late: by the misfire policy; but nothing late runs once the schedule has expired.

After a long absence only the newest slots get a record each; one record stands for those before them
and carries their number (see ``due_slots``).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.models.reason import Reason, Why
from jobledger.schedules.planning.due_slots import DueSlots, Situation, due_slots
from jobledger.schedules.planning.policy import Misfire, Pause, PausedSlots, Policy
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict, by_pauses, by_policy
from jobledger.schedules.rules.slots import ALWAYS, Rule, Window, as_utc

__all__ = [
    "Misfire",
    "Pause",
    "PausedSlots",
    "Plan",
    "PlannedSlot",
    "Policy",
    "Verdict",
    "jitter_delay",
    "overtaken",
    "plan",
]


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
    pauses: Sequence[Pause] = (),
) -> Plan:
    """Account for every slot that became due after ``handled_until``, and name the next one.

    ``handled_until`` is the latest of: the last slot that has a record, the moment the schedule was
    made or switched on, the moment its times were edited. So neither an edit nor a re-enable creates
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
    return _judged(situation, due_slots(situation))


def overtaken(
    slot: datetime, *, due_at: datetime | None, policy: Policy, pauses: Sequence[Pause], now: datetime
) -> PlannedSlot:
    """What becomes of a slot that had come but was not recorded yet when the times were edited."""
    if pause := next((pause for pause in pauses if pause.covers(now)), None):
        return PlannedSlot(scheduled_for=slot, verdict=Verdict.SKIPPED, why=pause.why(Reason.PAUSED))
    is_on_time = now - (due_at or slot) < policy.misfire_grace
    verdict = Verdict.RUN if is_on_time else Verdict.MISSED
    return PlannedSlot(scheduled_for=slot, verdict=verdict, why=Why.of(Reason.SCHEDULE_EDITED))


def _judged(situation: Situation, due: DueSlots) -> Plan:
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
