"""A preview: what saving a schedule would change, before it is saved. Pure: the moment is given.

It plans with the very function that the ledger plans with. So what it says about the moment of saving is
what happens then: a save that changes the times, or switches the schedule on, counts from that moment and
starts nothing of the past. Slots that were due before and still wait, for their jitter or for beat's next
look, are said by name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.schedules.planning import planning
from jobledger.schedules.planning.planning import Plan, jitter_delay
from jobledger.schedules.planning.policy import PausePeriod
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict
from jobledger.schedules.rules import clock_changes
from jobledger.schedules.rules.clock_changes import Consequence
from jobledger.schedules.rules.cron import Cron
from jobledger.schedules.rules.slots import Window, slots_between
from jobledger.schedules.rules.wallclock import LATEST
from jobledger.schedules.stored_schedules import StoredSchedule, Times

SLOTS = 10


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a save would do."""

    old_slots: tuple[datetime, ...]
    new_slots: tuple[datetime, ...]
    clock_changes: tuple[Consequence, ...]
    """Of the next two; empty where the rule knows no clock, or its zone no change."""
    started: tuple[datetime, ...]
    """Slots that had come before the save and waited; they start with it. Of new times there are none."""
    next_slot: datetime | None
    """None: there is none, or the schedule is disabled."""
    due_at: datetime | None
    """When beat looks at it next; after the moment of saving in any case."""
    held_by: PausePeriod | None
    """What keeps the next slot from starting when it is due."""
    delay: timedelta | None
    """By how much every slot starts later; None where that is not known before the first save."""

    @property
    def is_same(self) -> bool:
        """Whether the times stay as they are."""
        return self.old_slots == self.new_slots

    @property
    def minutes(self) -> tuple[datetime, ...]:
        """The minutes in which it starts."""
        starts = (slot + (self.delay or timedelta(0)) for slot in self.new_slots)
        return tuple(dict.fromkeys(start.replace(second=0, microsecond=0) for start in starts))


def preview(
    new: Times, *, now: datetime, old: StoredSchedule | None = None, pauses: Sequence[PausePeriod] = ()
) -> Preview:
    """What saving ``new`` over ``old`` at the moment would do. Raises RuleError for what has no slots."""
    plan = _plan_of_save(new, old, pauses, now)
    records = _records(old, new, plan, pauses, now)
    return Preview(
        old_slots=_slots(old.times, now) if old else (),
        new_slots=_slots(new, now),
        clock_changes=_consequences(new, now),
        started=tuple(each.scheduled_for for each in records if each.verdict is Verdict.RUN),
        next_slot=plan.next_slot if plan else None,
        due_at=plan.due_at if plan else None,
        held_by=_held_by(plan, pauses),
        delay=_delay(new.policy.jitter, old),
    )


def _slots(times: Times, after: datetime) -> tuple[datetime, ...]:
    """The next ones, whether it is enabled or not."""
    return tuple(slots_between(times.rule, after, LATEST, window=times.window, limit=SLOTS))


def _plan_of_save(
    new: Times, old: StoredSchedule | None, pauses: Sequence[PausePeriod], now: datetime
) -> Plan | None:
    if not new.enabled:
        return None
    return planning.plan(
        rule=new.rule,
        window=new.window,
        policy=new.policy,
        identity=old.schedule_id if old else 0,
        handled_until=_counts_from(new, old, now),
        now=now,
        pauses=pauses,
    )


def _counts_from(new: Times, old: StoredSchedule | None, now: datetime) -> datetime:
    """As the ledger does: from the save, unless the schedule was followed already and its times stay."""
    if old is None or old.handled_until is None or not old.times.is_due_like(new):
        return now
    return old.handled_until


def _records(
    old: StoredSchedule | None, new: Times, plan: Plan | None, pauses: Sequence[PausePeriod], now: datetime
) -> Iterator[PlannedSlot]:
    """What the ledger writes down with the save."""
    if plan is None or old is None:
        return
    # A slot of the old times that had come and is not on record yet is not lost.
    if old.slot is not None and old.slot <= now and not old.times.is_due_like(new):
        yield planning.overtaken(old.slot, due_at=old.due_at, policy=new.policy, pauses=pauses, now=now)
    yield from plan.records


def _held_by(plan: Plan | None, pauses: Sequence[PausePeriod]) -> PausePeriod | None:
    slot = plan.next_slot if plan else None
    return next((pause for pause in pauses if slot is not None and pause.covers(slot)), None)


def _delay(jitter: timedelta, old: StoredSchedule | None) -> timedelta | None:
    if not jitter:
        return timedelta(0)
    return jitter_delay(jitter, old.schedule_id) if old else None


def _consequences(new: Times, now: datetime) -> tuple[Consequence, ...]:
    if not isinstance(new.rule, Cron):
        return ()
    return tuple(clock_changes.consequences(new.rule, now, window=_reach(new, now)))


def _reach(new: Times, now: datetime) -> Window:
    """What is due only once has no times after its slot."""
    slots = _slots(new, now) if new.window.one_off else ()
    if not slots:
        return new.window
    return Window(start_time=new.window.start_time, expires=slots[0] + timedelta(days=1))
