"""Edits: what becomes of the slots of a schedule's old timing that have no record when it is edited. Pure.

Once the timing is edited, the schedule counts from then. So each slot that had passed by then, and is not on
record, is accounted for here: those that were due, and those that the old calendars had moved to a time that
has not come. The latter stay as they are if the new calendars move them as well, wherever to.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from jobledger.jobs.declaration import Misfire
from jobledger.reason import Reason, Why
from jobledger.schedules.planning import left_out
from jobledger.schedules.planning.planning import due_slots, jitter_delay
from jobledger.schedules.planning.policy import NOTHING, PausePeriod, Policy
from jobledger.schedules.planning.verdicts import DueSlot, PlannedSlot, Situation, Verdict
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.slots import ALWAYS, Rule, Window


@dataclass(frozen=True, kw_only=True)
class Former:
    """When the schedule was due before the edit, and how far that is on record."""

    rule: Rule
    window: Window = ALWAYS
    handled_until: datetime
    next_slot: datetime | None = None
    """The first slot without a record."""
    due_at: datetime | None = None
    """When that one was to be planned."""


def unrecorded(
    former: Former,
    *,
    rule: Rule,
    policy: Policy,
    identity: str | int,
    pauses: Sequence[PausePeriod],
    now: datetime,
) -> Iterator[PlannedSlot]:
    """What to record of the slots of the old timing, apart from what the new ``rule`` moves.

    Some of those that are due may run: what is on time, unless a pause is in the way.
    """
    yield from moved_ahead(former, rule, now)
    situation = Situation(
        rule=former.rule,
        window=former.window,
        # An edit catches up on nothing, so that there are few records.
        policy=replace(policy, misfire=Misfire.ONCE),
        pauses=(),
        handled_until=former.handled_until,
        now=now,
        delay=NOTHING,
    )
    due = due_slots(situation)
    exceptions = left_out.of(situation, due.following, is_one_off_used=bool(due.slots), is_cut=True)
    delay = jitter_delay(policy.jitter, identity)
    planned = [_planned(each, former, policy, delay, pauses, now) for each in due.slots]
    for each in sorted([*exceptions.records, *planned], key=lambda record: record.scheduled_for):
        # Until here, slots are the times at which they are due.
        yield left_out.as_moved(situation, each)


def moved_ahead(former: Former, rule: Rule | None, now: datetime) -> Iterator[PlannedSlot]:
    """What to record of slots that were moved to a time that has not come, except what ``rule`` moves.

    ``rule`` is None if the schedule is no longer due at all.
    """
    kept: Collection[datetime] = rule.moved_across(now).values() if isinstance(rule, CalendarRule) else ()
    moved = former.rule.moved_across(now) if isinstance(former.rule, CalendarRule) else {}
    for target, slot in moved.items():
        if slot not in kept and former.window.contains(slot):
            yield PlannedSlot(
                scheduled_for=slot,
                moved_to=target,
                # Its time has not come, so nothing was missed.
                verdict=Verdict.SKIPPED,
                why=Why.of(Reason.SCHEDULE_EDITED, moved_to=target),
            )


def _planned(
    due: DueSlot,
    former: Former,
    policy: Policy,
    delay: timedelta,
    pauses: Sequence[PausePeriod],
    now: datetime,
) -> PlannedSlot:
    if pause := next((pause for pause in pauses if pause.covers(now)), None):
        verdict, why = Verdict.SKIPPED, pause.why(Reason.PAUSED)
    else:
        is_next = due.slot == former.next_slot
        due_at = max(due.slot, former.due_at) if is_next and former.due_at else due.slot + delay
        is_on_time = due.count == 1 and now - due_at < policy.misfire_grace
        verdict, why = Verdict.RUN if is_on_time else Verdict.MISSED, Why.of(Reason.SCHEDULE_EDITED)
    return PlannedSlot(scheduled_for=due.slot, verdict=verdict, why=why, coalesced=due.count - 1)
