"""Preview: what saving a schedule would change, before it is saved. Pure: the time is an argument.

It uses the same planning function as the ledger, so what it says is what would happen: a save that changes
the timing or enables the schedule counts from the time of the save and starts nothing in the past. Slots
that had passed before and are still waiting, for their jitter or for beat's next tick, are listed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from jobledger.schedules.planning import edits, planning
from jobledger.schedules.planning.edits import Former
from jobledger.schedules.planning.planning import Plan, jitter_delay
from jobledger.schedules.planning.policy import PausePeriod
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict
from jobledger.schedules.rules import clock_changes
from jobledger.schedules.rules.calendar_rule import HORIZON, CalendarRule, LeftOut
from jobledger.schedules.rules.clock_changes import Consequence
from jobledger.schedules.rules.cron_expression import CronRule
from jobledger.schedules.rules.slots import Window, slots_between
from jobledger.schedules.rules.wallclock import LATEST
from jobledger.schedules.stored_schedules import (
    StoredSchedule,
    Times,
)

SLOTS = 10
LEFT_OUT_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a save would do."""

    old_slots: tuple[datetime, ...]
    new_slots: tuple[datetime, ...]
    left_out: tuple[LeftOut, ...]
    """What calendars leave out until the last of the new slots; the first few."""
    moved: Mapping[datetime, datetime]
    """New slots that are at another time, with the time from which they are moved."""
    clock_changes: tuple[Consequence, ...]
    """The next two; empty if the rule does not use the wall clock, or its zone has no changes."""
    started: tuple[datetime, ...]
    """Slots that had passed before the save and were still waiting; they start with it."""
    next_slot: datetime | None
    """None: there is none, or the schedule is disabled."""
    due_at: datetime | None
    """When beat plans it next; always after the save."""
    held_by: PausePeriod | None
    """The pause that keeps the next slot from starting on time."""
    delay: timedelta | None
    """How much later every slot starts, due to jitter; None if that is unknown before the first save."""

    @property
    def is_same(self) -> bool:
        """Whether the save leaves the next slots as they are."""
        return self.old_slots == self.new_slots

    @property
    def minutes(self) -> tuple[datetime, ...]:
        """The minutes in which the new slots start."""
        starts = (slot + (self.delay or timedelta(0)) for slot in self.new_slots)
        return tuple(dict.fromkeys(start.replace(second=0, microsecond=0) for start in starts))


def preview(
    new: Times, *, now: datetime, old: StoredSchedule | None = None, pauses: Sequence[PausePeriod] = ()
) -> Preview:
    """What saving ``new`` over ``old`` now would do. Raises RuleError for a rule without slots."""
    plan = _plan_of_save(new, old, pauses, now)
    records = _records(old, new, plan, pauses, now)
    new_slots = _slots(new, now)
    return Preview(
        old_slots=_slots(old.times, now) if old else (),
        new_slots=new_slots,
        left_out=_left_out(new, now, new_slots),
        moved=_moved(new, new_slots),
        clock_changes=_consequences(new, now),
        started=tuple(each.scheduled_for for each in records if each.verdict is Verdict.RUN),
        next_slot=plan.next_slot if plan else None,
        due_at=plan.due_at if plan else None,
        held_by=_held_by(plan, pauses),
        delay=_delay(new.policy.jitter, old),
    )


def _slots(times: Times, after: datetime) -> tuple[datetime, ...]:
    """The next slots, whether the schedule is enabled or not."""
    return tuple(slots_between(times.due_rule, after, LATEST, window=times.window, limit=SLOTS))


def _left_out(times: Times, now: datetime, slots: Sequence[datetime]) -> tuple[LeftOut, ...]:
    rule = times.due_rule
    if not isinstance(rule, CalendarRule):
        return ()
    until = slots[-1] if len(slots) == SLOTS else now + HORIZON
    return tuple(islice(rule.left_out(now, until), LEFT_OUT_SHOWN))


def _moved(times: Times, slots: Sequence[datetime]) -> Mapping[datetime, datetime]:
    rule = times.due_rule
    if not isinstance(rule, CalendarRule):
        return {}
    origins = {slot: rule.origin(slot) for slot in slots}
    return {slot: origin for slot, origin in origins.items() if slot != origin}


def _plan_of_save(
    new: Times, old: StoredSchedule | None, pauses: Sequence[PausePeriod], now: datetime
) -> Plan | None:
    if not new.enabled:
        return None
    return planning.plan(
        rule=new.due_rule,
        window=new.window,
        policy=new.policy,
        identity=old.schedule_id if old else 0,
        handled_until=_counts_from(new, old, now),
        now=now,
        pauses=pauses,
    )


def _counts_from(new: Times, old: StoredSchedule | None, now: datetime) -> datetime:
    """As in the ledger: from the save, unless the schedule is in the ledger and its timing stays the same."""
    if old is None or old.handled_until is None or not old.times.has_same_slots(new):
        return now
    return old.handled_until


def _records(
    old: StoredSchedule | None, new: Times, plan: Plan | None, pauses: Sequence[PausePeriod], now: datetime
) -> Iterator[PlannedSlot]:
    """What the ledger records with the save."""
    if plan is None or old is None:
        return
    if old.handled_until is not None and not old.times.has_same_slots(new):
        former = Former(
            rule=old.times.due_rule,
            window=old.times.window,
            handled_until=old.handled_until,
            next_slot=old.slot,
            due_at=old.due_at,
        )
        yield from edits.unrecorded(
            former,
            rule=new.due_rule,
            policy=new.policy,
            identity=old.schedule_id,
            pauses=pauses,
            now=now,
        )
    yield from plan.records


def _held_by(plan: Plan | None, pauses: Sequence[PausePeriod]) -> PausePeriod | None:
    slot = plan.next_slot if plan else None
    return next((pause for pause in pauses if slot is not None and pause.covers(slot)), None)


def _delay(jitter: timedelta, old: StoredSchedule | None) -> timedelta | None:
    if not jitter:
        return timedelta(0)
    return jitter_delay(jitter, old.schedule_id) if old else None


def _consequences(new: Times, now: datetime) -> tuple[Consequence, ...]:
    if not isinstance(new.rule, CronRule):
        return ()
    return tuple(clock_changes.consequences(new.rule, now, window=_effective_window(new, now)))


def _effective_window(new: Times, now: datetime) -> Window:
    """A one-off schedule has no times after its slot, so later clock changes do not affect it."""
    slots = _slots(new, now) if new.window.one_off else ()
    if not slots:
        return new.window
    return Window(start_time=new.window.start_time, expires=slots[0] + timedelta(days=1))
