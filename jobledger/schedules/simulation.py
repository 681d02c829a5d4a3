"""Simulation: replays planning for one schedule over a period, as beat would have done it.

Beat is assumed to be up except during the downtimes; slots that pass in a downtime are planned at its end.
The replay is lazy and keeps only the current plan, so memory use does not grow with the period.
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
    """A slot, what would happen to it, and when.

    Its verdict is ``HELD`` only if an open-ended pause holds it and no later slot decides it.
    """

    decided_at: datetime
    """When beat would have planned it."""

    @property
    def started_at(self) -> datetime | None:
        """When it would have started; None if it does not run."""
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
    """Yield the slots from ``start`` until before ``end``, oldest first, with what would happen to them.

    The replay continues after ``end`` until each slot is decided.
    """
    planned = partial(plan, rule=rule, policy=policy, identity=identity, window=window, pauses=pauses)
    ordered = sorted((as_utc(down), as_utc(up)) for down, up in downtimes)
    return _slots(planned, ordered, as_utc(start), as_utc(end))


def _slots(
    planned: Callable[..., Plan], downtimes: _Downtimes, start: datetime, end: datetime
) -> Iterator[SimulatedSlot]:
    now = _next_uptime(start, downtimes)
    current = planned(handled_until=start - RESOLUTION, now=now)
    while True:
        yield from (_simulated(each, now) for each in current.records if each.scheduled_for < end)
        if current.next_slot is None or current.next_slot >= end:
            return
        if current.due_at is None:
            if current.held:
                yield _simulated(current.held, now)
            return
        now = _next_uptime(current.due_at, downtimes)
        current = planned(handled_until=current.handled_until, now=now)


def _next_uptime(at: datetime, downtimes: _Downtimes) -> datetime:
    """The given time, or the end of the downtimes that contain it."""
    for down, up in downtimes:
        if down <= at < up:
            at = up
    return at


def _simulated(planned: PlannedSlot, now: datetime) -> SimulatedSlot:
    return SimulatedSlot(**vars(planned), decided_at=now)
