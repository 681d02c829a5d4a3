"""What a schedule's calendars leave out, or move: as records of the plan. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice

from jobledger.reason import MANY, NO_REASON, Reason, Why
from jobledger.schedules.planning.verdicts import PlannedSlot, Situation, Verdict
from jobledger.schedules.rules.calendar_rule import HORIZON, CalendarRule, LeftOut
from jobledger.schedules.rules.slots import RESOLUTION

RECORD_LIMIT = 100
"""How many records there are at most, after long downtime: the oldest one covers all earlier ones."""
_MAX_READ = 10 * RECORD_LIMIT


@dataclass(frozen=True, kw_only=True)
class Exceptions:
    """What is left out by now, and when to plan again because of what is left out later."""

    records: tuple[PlannedSlot, ...] = ()
    due_at: datetime | None = None


def of(
    situation: Situation, next_slot: datetime | None, *, is_one_off_used: bool, is_cut: bool = False
) -> Exceptions:
    """What is left out before the next slot that is not; with ``is_cut``, of a day that is not over, too."""
    rule = situation.rule
    if not isinstance(rule, CalendarRule):
        return Exceptions()
    if situation.window.one_off and (next_slot is not None or is_one_off_used):
        # It runs at the first time that is not left out.
        return Exceptions()
    before = situation.now + HORIZON if next_slot is None else next_slot
    if is_cut:
        before = situation.horizon + RESOLUTION
    passed: list[LeftOut] = []
    for found in islice(rule.left_out(situation.handled_until, before, is_cut=is_cut), _MAX_READ):
        if found.slot > situation.horizon:
            return Exceptions(records=_records(passed), due_at=found.slot + situation.delay)
        passed.append(found)
    return Exceptions(records=_records(passed))


def as_moved(situation: Situation, planned: PlannedSlot) -> PlannedSlot:
    """The record of the slot that is due at this time, if that is not its own time."""
    rule = situation.rule
    if not isinstance(rule, CalendarRule) or not rule.use.is_moved or planned.why.reason is Reason.LEFT_OUT:
        return planned
    into = planned.coalesced_into and rule.origin(planned.coalesced_into)
    slot = rule.origin(planned.scheduled_for)
    if slot == planned.scheduled_for:
        return replace(planned, coalesced_into=into)
    calendar, name = rule.why_moved(slot)
    why = Why.of(Reason.MOVED, calendar=calendar, name=name) if planned.why == NO_REASON else planned.why
    return replace(
        planned,
        scheduled_for=slot,
        moved_to=planned.scheduled_for,
        coalesced_into=into,
        why=why.plus(moved_to=planned.scheduled_for),
    )


def _records(found: list[LeftOut]) -> tuple[PlannedSlot, ...]:
    older = sum(each.count for each in found[:-RECORD_LIMIT])
    records = [record_of(each) for each in found[-RECORD_LIMIT:]]
    if older:
        records[0] = replace(records[0], coalesced=min(records[0].coalesced + older, MANY))
    return tuple(records)


def record_of(found: LeftOut) -> PlannedSlot:
    """One record for all of them."""
    why = Why.of(
        Reason.LEFT_OUT,
        calendar=found.calendar,
        name=found.name,
        covered_at=found.covered_at,
        no_other_day=found.has_no_other_day or None,
    )
    return PlannedSlot(
        scheduled_for=found.slot, verdict=Verdict.SKIPPED, why=why, coalesced=min(found.count - 1, MANY)
    )
