"""Simulation: replays planning for one schedule over a span of time, as beat would have lived it.

Beat is awake except in the downtimes; what passed in one is accounted for at its end. The replay is
lazy and keeps nothing but the present plan, so its memory does not grow with the span.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from jobledger.reason import Why
from jobledger.schedules.planning.planning import Plan, plan
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Rule, Window, as_utc


@dataclass(frozen=True, kw_only=True)
class SimulatedSlot:
    """One slot, what would become of it, and when."""

    scheduled_for: datetime
    verdict: Verdict
    """``HELD`` only for the slot that an open pause still holds when nothing more is to come."""
    why: Why
    coalesced: int
    """How many earlier slots this one stands for besides itself; ``MANY`` is as many or more."""
    decided_at: datetime
    """When beat would have taken note of it."""
    started_at: datetime | None
    """The same for a slot that runs, else None."""


@dataclass(frozen=True, kw_only=True)
class _Replay:
    rule: Rule
    window: Window
    policy: Policy
    pauses: Sequence[PausePeriod]
    downtimes: Sequence[tuple[datetime, datetime]]
    identity: str | int

    def plan(self, handled_until: datetime, now: datetime) -> Plan:
        return plan(
            rule=self.rule,
            window=self.window,
            policy=self.policy,
            pauses=self.pauses,
            identity=self.identity,
            handled_until=handled_until,
            now=now,
        )

    def awake_from(self, moment: datetime) -> datetime:
        """The moment itself, or the end of the downtimes it lies in."""
        for down, up in self.downtimes:
            if down <= moment < up:
                moment = up
        return moment


def simulate(
    *,
    rule: Rule,
    policy: Policy,
    identity: str | int,
    start: datetime,
    end: datetime,
    window: Window = ALWAYS,
    pauses: Sequence[PausePeriod] = (),
    downtimes: Sequence[tuple[datetime, datetime]] = (),
) -> Iterator[SimulatedSlot]:
    """The slots from ``start`` on and before ``end``, oldest first, each with what becomes of it.

    What happens to them is told to the end, also when it happens after ``end``.
    """
    replay = _Replay(
        rule=rule,
        window=window,
        policy=policy,
        pauses=pauses,
        downtimes=sorted((as_utc(down), as_utc(up)) for down, up in downtimes),
        identity=identity,
    )
    return _slots(replay, as_utc(start), as_utc(end))


def _slots(replay: _Replay, start: datetime, end: datetime) -> Iterator[SimulatedSlot]:
    now = replay.awake_from(start)
    current = replay.plan(start - RESOLUTION, now)
    while True:
        yield from (_simulated(each, now) for each in current.records if each.scheduled_for < end)
        if current.next_slot is None or current.next_slot >= end:
            return
        if current.due_at is None:
            if current.held:
                yield _simulated(current.held, now)
            return
        now = replay.awake_from(current.due_at)
        current = replay.plan(current.handled_until, now)


def _simulated(planned: PlannedSlot, now: datetime) -> SimulatedSlot:
    return SimulatedSlot(
        scheduled_for=planned.scheduled_for,
        verdict=planned.verdict,
        why=planned.why,
        coalesced=planned.coalesced,
        decided_at=now,
        started_at=now if planned.verdict is Verdict.RUN else None,
    )
