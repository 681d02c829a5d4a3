"""Backlogs: which waiting runs of a schedule give way to a newer one. Pure: the time is an argument.

A run waits from the time at which its slot is recorded until a worker starts it: because no worker reads its
queue, because none is free, or because another run holds its job. When a newer slot is due, the misfire
policy decides about the runs that still wait as it decides about slots that passed while beat was down:

- ``once``: the newer run stands for them, so they are missed;
- ``skip``: they are late, so they expire; without a newer slot as well, once they have waited for as long as
  a slot may be late (``misfire_grace``);
- ``all``: they stay, but no more of them than the catch-up limit; the newest are kept.

If the job's runs must not overlap, that includes slots that are planned together with the newer one, since
only one of them can start. If they may overlap, a run that is less than ``misfire_grace`` late is still on
time, and is left alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from jobledger.jobs.declaration import Misfire
from jobledger.reason import Reason, Why
from jobledger.schedules.planning.policy import DEFAULT_GRACE, Policy
from jobledger.schedules.planning.verdicts import PlannedSlot, Verdict


@dataclass(frozen=True, kw_only=True)
class Settled:
    """What becomes of a schedule's slots once those that give way are known."""

    records: Sequence[PlannedSlot]
    """What to record."""
    given_up: Sequence[PlannedSlot] = ()
    """What becomes of waiting runs that give way."""


def settle(
    records: Sequence[PlannedSlot],
    waiting: Sequence[datetime],
    *,
    policy: Policy,
    may_overlap: bool,
    horizon: datetime,
) -> Settled:
    """Decide which runs give way to the newest of these records, oldest first.

    ``waiting`` are the slots of the schedule's runs that wait for their first attempt. Slots up to and
    including the ``horizon`` are due.
    """
    newest = newest_of(records, policy)
    if newest is None:
        return Settled(records=records)
    older = {slot for slot in waiting if slot < newest}
    if not may_overlap:
        older |= {each.scheduled_for for each in records if _runs_before(newest, each)}
    late = sorted(slot for slot in older if not may_overlap or horizon - slot >= policy.misfire_grace)
    given_up = set(_giving_way(late, policy))
    if not given_up:
        return Settled(records=records)
    planned = {each.scheduled_for for each in records}
    return Settled(
        records=[
            _not_run(each, newest, policy) if each.scheduled_for in given_up else each for each in records
        ],
        given_up=[_given_up(slot, newest, policy) for slot in sorted(given_up - planned)],
    )


def newest_of(records: Sequence[PlannedSlot], policy: Policy) -> datetime | None:
    """The slot that others give way to, if there is one: the newest that runs, or that is itself too late."""
    verdicts = (Verdict.RUN, Verdict.MISSED) if policy.misfire is Misfire.SKIP else (Verdict.RUN,)
    return max((each.scheduled_for for each in records if each.verdict in verdicts), default=None)


def start_before(
    *,
    starts_at: datetime,
    recorded_at: datetime,
    misfire: Misfire,
    starting_deadline: timedelta | None,
    expires: datetime | None,
    expire_after: timedelta | None,
    misfire_grace: timedelta = DEFAULT_GRACE,
) -> datetime | None:
    """When a run expires that has not started: by its policy, its schedule's end, or its time in a queue."""
    deadlines = [
        recorded_at + misfire_grace if misfire is Misfire.SKIP else None,
        starts_at + starting_deadline if starting_deadline is not None else None,
        expires,
        recorded_at + expire_after if expire_after is not None else None,
    ]
    return min((deadline for deadline in deadlines if deadline is not None), default=None)


def _runs_before(newest: datetime, planned: PlannedSlot) -> bool:
    return planned.verdict is Verdict.RUN and planned.scheduled_for < newest


def _giving_way(older: Sequence[datetime], policy: Policy) -> Sequence[datetime]:
    return older[: -policy.catch_up_limit] if policy.misfire is Misfire.ALL else older


def _not_run(planned: PlannedSlot, newest: datetime, policy: Policy) -> PlannedSlot:
    """A slot that was to run, but gives way to one that was planned together with it."""
    match policy.misfire:
        case Misfire.ONCE:
            why = Why.of(Reason.COALESCED, slot=newest)
        case Misfire.SKIP:
            why = Why.of(Reason.LATE)
        case Misfire.ALL:
            why = Why.of(Reason.CATCH_UP_LIMIT, limit=policy.catch_up_limit)
    into = newest if policy.misfire is Misfire.ONCE else None
    return replace(planned, verdict=Verdict.MISSED, why=why, coalesced_into=into)


def _given_up(slot: datetime, newest: datetime, policy: Policy) -> PlannedSlot:
    """A slot whose run waits, but gives way to a newer one."""
    match policy.misfire:
        case Misfire.ONCE:
            verdict, why = Verdict.MISSED, Why.of(Reason.SUPERSEDED, slot=newest)
        case Misfire.SKIP:
            verdict, why = Verdict.EXPIRED, Why.of(Reason.LATE, slot=newest)
        case Misfire.ALL:
            verdict = Verdict.MISSED
            why = Why.of(Reason.CATCH_UP_LIMIT, limit=policy.catch_up_limit, slot=newest)
    return PlannedSlot(scheduled_for=slot, verdict=verdict, why=why, coalesced_into=newest)
