"""Simulation: replays planning for one schedule over a period, as beat and the workers would have done it.

Beat is assumed to be up except during the downtimes; slots that pass in a downtime are planned at its end. A
worker starts each run at once, except while there are no workers: then runs wait, and the backlog is settled
as in the ledger. The replay is lazy, and keeps only the current plan and the runs that wait, so memory use
does not grow with the period.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

from jobledger.jobs.declaration import Misfire
from jobledger.reason import Reason, Why
from jobledger.schedules.planning import backlog, left_out
from jobledger.schedules.planning.planning import Plan, jitter_delay, plan
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict
from jobledger.schedules.rules.calendar_rule import CalendarRule
from jobledger.schedules.rules.slots import ALWAYS, RESOLUTION, Rule, Window, as_utc

Periods = Sequence[tuple[datetime, datetime]]


@dataclass(frozen=True, kw_only=True)
class SimulatedSlot(PlannedSlot):
    """A slot, what would happen to it, and when.

    Its verdict is ``HELD`` only if an open-ended pause holds it and no later slot decides it.
    """

    decided_at: datetime
    """When it would have started, or when it would have been recorded that it does not."""
    has_waited: bool = False
    """Whether it would have started as soon as there was a worker."""

    @property
    def started_at(self) -> datetime | None:
        """When it would have started; None if it does not run."""
        return self.decided_at if self.verdict is Verdict.RUN else None


@dataclass(frozen=True, kw_only=True)
class Queue:
    """How runs wait for workers."""

    no_workers: Periods = ()
    """When there are none."""
    may_overlap: bool = False
    max_live: int | None = None
    """Where runs may overlap: how many of the schedule's may wait before further ones are skipped."""
    expire_after: timedelta | None = None
    """How long a run may wait, whatever the policy says."""


AT_ONCE = Queue()
"""There is always a worker."""


def simulate(
    *,
    rule: Rule,
    policy: Policy,
    identity: str | int,
    start: datetime,
    end: datetime,
    window: Window = ALWAYS,
    pauses: Sequence[PausePeriod] = (),
    downtimes: Periods = (),
    queue: Queue = AT_ONCE,
) -> Iterator[SimulatedSlot]:
    """Yield the slots from ``start`` until before ``end``, oldest first, with what would happen to them.

    The replay continues after ``end`` until each slot is decided.
    """
    waiting = _Waiting(
        queue=replace(queue, no_workers=_in_utc(queue.no_workers)),
        policy=policy,
        expires=window.expires,
        delay=jitter_delay(policy.jitter, identity),
        downtimes=_in_utc(downtimes),
    )
    planned = partial(plan, rule=rule, policy=policy, identity=identity, window=window, pauses=pauses)
    start, end = as_utc(start), as_utc(end)
    return _with_rest_of_day(_slots(planned, waiting, start, end), rule, window, start, end)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """A run that waits for a worker."""

    planned: PlannedSlot
    recorded_at: datetime
    start_before: datetime | None


@dataclass(kw_only=True)
class _Waiting:
    """The runs that wait at a given time, and the slots that have been decided."""

    queue: Queue
    policy: Policy
    expires: datetime | None
    delay: timedelta
    downtimes: Periods
    _runs: dict[datetime, _Run] = field(default_factory=dict)
    _decided: list[tuple[datetime, SimulatedSlot]] = field(default_factory=list)

    def record(self, records: Sequence[PlannedSlot], now: datetime) -> None:
        """What beat records now, and what workers then start."""
        self.let_pass(now)
        settled = backlog.settle(
            records,
            list(self._runs),
            policy=self.policy,
            may_overlap=self.queue.may_overlap,
            horizon=now - self.delay,
        )
        if why := self._why_too_many(len(self._runs) - len(settled.given_up)):
            settled = backlog.Settled(
                records=[
                    replace(each, verdict=Verdict.SKIPPED, why=why) if each.verdict is Verdict.RUN else each
                    for each in settled.records
                ]
            )
        for each in settled.given_up:
            del self._runs[each.scheduled_for]
            self._decide(each, now)
        for each in settled.records:
            if each.verdict is Verdict.RUN:
                self._runs[each.scheduled_for] = self._queued(each, now)
            else:
                self._decide(each, now)
        self.let_pass(now)

    def _why_too_many(self, live: int) -> Why | None:
        """Why no further run is queued, if so many of them wait already."""
        limit = self.queue.max_live
        if limit is None or live < limit or self.policy.misfire is Misfire.ALL:
            return None
        return Why.of(Reason.TOO_MANY_LIVE, live=live, limit=limit)

    def let_pass(self, now: datetime | None) -> None:
        """Start the runs that workers take by now, and expire those whose time has passed; None: all."""
        for slot, run in list(self._runs.items()):
            starts_at = _end_of(self.queue.no_workers, run.recorded_at)
            until = starts_at if now is None else min(now, starts_at)
            if run.start_before is not None and run.start_before <= until:
                expired = replace(run.planned, verdict=Verdict.EXPIRED, why=self._why_expired(run))
                self._decide(expired, _end_of(self.downtimes, max(run.start_before, run.recorded_at)))
            elif until == starts_at:
                self._decide(run.planned, starts_at, has_waited=starts_at > run.recorded_at)
            else:
                continue
            del self._runs[slot]

    def in_order(self) -> Iterator[SimulatedSlot]:
        """The slots that have been decided, up to the first that has not."""
        first_waiting = min(self._runs, default=None)
        while self._decided and (first_waiting is None or self._decided[0][0] < first_waiting):
            yield heapq.heappop(self._decided)[1]

    def is_open_before(self, end: datetime) -> bool:
        """Whether a slot before this time is still to be decided."""
        return any(slot < end for slot in self._runs)

    def _why_expired(self, run: _Run) -> Why:
        is_late = self.policy.misfire is Misfire.SKIP and (
            run.start_before == run.recorded_at + self.policy.misfire_grace
        )
        return Why.of(Reason.LATE if is_late else Reason.DEADLINE)

    def _queued(self, planned: PlannedSlot, now: datetime) -> _Run:
        start_before = backlog.start_before(
            starts_at=planned.due + self.delay,
            recorded_at=now,
            misfire=self.policy.misfire,
            misfire_grace=self.policy.misfire_grace,
            starting_deadline=self.policy.starting_deadline,
            expires=self.expires,
            expire_after=self.queue.expire_after,
        )
        return _Run(planned=planned, recorded_at=now, start_before=start_before)

    def _decide(self, planned: PlannedSlot, at: datetime, *, has_waited: bool = False) -> None:
        slot = SimulatedSlot(**vars(planned), decided_at=at, has_waited=has_waited)
        heapq.heappush(self._decided, (slot.scheduled_for, slot))


def _slots(
    planned: Callable[..., Plan], waiting: _Waiting, start: datetime, end: datetime
) -> Iterator[SimulatedSlot]:
    now = _end_of(waiting.downtimes, start)
    current = planned(handled_until=start - RESOLUTION, now=now)
    while True:
        waiting.record(current.records, now)
        yield from (each for each in waiting.in_order() if each.scheduled_for < end)
        is_over = current.next_slot is None or current.next_slot >= end
        if current.due_at is not None and current.due_at - waiting.delay < end:
            # Something is left out before.
            is_over = False
        if current.due_at is None or (is_over and not waiting.is_open_before(end)):
            break
        now = _end_of(waiting.downtimes, current.due_at)
        current = planned(handled_until=current.handled_until, now=now)
    waiting.let_pass(None)
    yield from (each for each in waiting.in_order() if each.scheduled_for < end)
    if current.due_at is None and current.held and current.held.scheduled_for < end:
        yield SimulatedSlot(**vars(current.held), decided_at=now)


def _with_rest_of_day(
    slots: Iterator[SimulatedSlot], rule: Rule, window: Window, start: datetime, end: datetime
) -> Iterator[SimulatedSlot]:
    """With what a calendar leaves out before ``end``, but is recorded with what it leaves out after that."""
    recorded_until = start - RESOLUTION
    for each in slots:
        if each.why.reason is Reason.LEFT_OUT:
            recorded_until = each.scheduled_for
        yield each
    if not isinstance(rule, CalendarRule) or window.one_off:
        return
    for found in rule.left_out(recorded_until, end, is_cut=True):
        whole = next(rule.left_out(found.slot - RESOLUTION, end), found)
        yield SimulatedSlot(**vars(left_out.record_of(found)), decided_at=whole.slot)


def _end_of(periods: Periods, at: datetime) -> datetime:
    """The given time, or the end of the periods that contain it."""
    for begin, end in periods:
        if begin <= at < end:
            at = end
    return at


def _in_utc(periods: Periods) -> Periods:
    return sorted((as_utc(begin), as_utc(end)) for begin, end in periods)
