"""Simulation: replays planning for one schedule over a period, as beat would have lived it.

Beat is awake except in the downtimes; what passed in one is accounted for at its end. The replay is
lazy and keeps nothing but the present plan, so its memory does not grow with the period.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from jobledger.schedules.planning.planning import Plan, plan
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Rule, Window, as_utc

_Downtimes = Sequence[tuple[datetime, datetime]]


@dataclass(frozen=True, kw_only=True)
class SimulatedSlot(PlannedSlot):
    """One slot, what would become of it, and when.

    Its verdict is ``HELD`` only where an open pause still holds it when nothing more is to come.
    """

    decided_at: datetime
    """When beat would have taken note of it."""

    @property
    def started_at(self) -> datetime | None:
        """The same for a slot that runs, else None."""
        return self.decided_at if self.verdict is Verdict.RUN else None


def simulate(
    *,
    rule: Rule,
    policy: Policy,
    identity: str | int,
    start: datetime,
    end: datetime,
    window: Window = ALWAYS,
    pauses: Sequence[PausePeriod] = (),
    downtimes: _Downtimes = (),
) -> Iterator[SimulatedSlot]:
    """The slots from ``start`` on and before ``end``, oldest first, each with what becomes of it.

    That is followed to its end, also where it comes after ``end``.
    """
    planned = partial(plan, rule=rule, policy=policy, identity=identity, window=window, pauses=pauses)
    in_order = sorted((as_utc(down), as_utc(up)) for down, up in downtimes)
    return _slots(planned, in_order, as_utc(start), as_utc(end))


def _slots(
    planned: Callable[..., Plan], downtimes: _Downtimes, start: datetime, end: datetime
) -> Iterator[SimulatedSlot]:
    now = _awake_from(start, downtimes)
    current = planned(handled_until=start - RESOLUTION, now=now)
    while True:
        yield from (_simulated(each, now) for each in current.records if each.scheduled_for < end)
        if current.next_slot is None or current.next_slot >= end:
            return
        if current.due_at is None:
            if current.held:
                yield _simulated(current.held, now)
            return
        now = _awake_from(current.due_at, downtimes)
        current = planned(handled_until=current.handled_until, now=now)


def _awake_from(moment: datetime, downtimes: _Downtimes) -> datetime:
    """The time itself, or the end of the downtimes it lies in."""
    for down, up in downtimes:
        if down <= moment < up:
            moment = up
    return moment


def _simulated(planned: PlannedSlot, now: datetime) -> SimulatedSlot:
    return SimulatedSlot(**vars(planned), decided_at=now)
