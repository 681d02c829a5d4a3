"""Verdicts: what becomes of due slots, by the pauses and the policy of their schedule.

``by_pauses`` comes first: it skips or holds what pauses stop and leaves the rest as candidates.
``by_policy`` then decides which candidates run. Each due slot leaves these two exactly once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby
from typing import TypeVar

from jobledger.jobs.declaration import Misfire, PausedSlots
from jobledger.reason import MANY, NO_REASON, Reason, Why
from jobledger.schedules.planning.policy import PausePeriod, Policy
from jobledger.schedules.rules.slots import Rule, Window

_T = TypeVar("_T")

CAUGHT_UP = Why.of(Reason.CAUGHT_UP)


class Verdict(StrEnum):
    """What becomes of a slot."""

    RUN = "run"
    MISSED = "missed"
    """Nothing could start it in time."""
    SKIPPED = "skipped"
    """Somebody wanted it not to start."""
    HELD = "held"
    """Undecided until a pause ends."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """One schedule at one time."""

    rule: Rule
    window: Window
    policy: Policy
    pauses: tuple[PausePeriod, ...]
    handled_until: datetime
    now: datetime
    delay: timedelta
    """The schedule's jitter."""

    @property
    def horizon(self) -> datetime:
        """Slots up to here are due."""
        return self.now - self.delay


@dataclass(frozen=True, kw_only=True)
class DueSlot:
    """A slot that is due, or the newest of many that are counted together."""

    slot: datetime
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class PlannedSlot:
    """One slot and what becomes of it."""

    scheduled_for: datetime
    verdict: Verdict
    why: Why = NO_REASON
    """Nothing needs to be said of a slot that runs on time."""
    coalesced_into: datetime | None = None
    """The slot whose run stands for this one."""
    coalesced: int = 0
    """How many earlier slots this record stands for besides its own; ``MANY`` is as many or more."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A due slot that no pause stops any more."""

    due: DueSlot
    start: datetime
    """When it was to start: its time with the jitter, or the end of the pause that held it."""
    pause: PausePeriod | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """The slot that runs when its pauses end; ``until`` is None while one of them is open."""

    planned: PlannedSlot
    until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Unpaused:
    """Due slots, sorted by what pauses do to them."""

    skipped: Sequence[PlannedSlot]
    held: Held | None
    candidates: Sequence[Candidate]
    """Oldest first."""


@dataclass(frozen=True, kw_only=True)
class _Stopped:
    """A due slot and the pauses that stop it, if any."""

    due: DueSlot
    by: Sequence[PausePeriod]
    until: datetime | None
    """When no pause is in the way any more; None while one is open."""

    @property
    def pause(self) -> PausePeriod:
        """The one that decides: a pause that skips goes before one that holds."""
        return next((pause for pause in self.by if pause.on_resume is PausedSlots.SKIP), self.by[0])

    @property
    def is_skipped(self) -> bool:
        return self.pause.on_resume is PausedSlots.SKIP

    def is_over_at(self, now: datetime) -> bool:
        return self.until is not None and self.until <= now

    def as_candidate(self, delay: timedelta) -> Candidate:
        start = self.due.slot + delay
        return Candidate(due=self.due, start=max(start, self.until or start), pause=self.pause)

    def planned(self, verdict: Verdict) -> PlannedSlot:
        return _planned(self.due, verdict, self.pause.why(Reason.PAUSED))


def by_pauses(situation: Situation, due: Sequence[DueSlot]) -> Unpaused:
    """Skip, hold or let go each due slot."""
    paused, free = _split([_stopped(situation, each) for each in due], lambda each: bool(each.by))
    forbidden, waiting = _split(paused, lambda each: each.is_skipped)
    latest, stale = _latest_of_each_end(waiting)
    released, blocked = _split(latest, lambda each: each.is_over_at(situation.now))
    # What waits behind a newer slot that was skipped is not the latest any more.
    held, overtaken = _split(blocked, lambda each: each.due is due[-1])
    candidates = [each.as_candidate(situation.delay) for each in released]
    candidates += [Candidate(due=each.due, start=each.due.slot + situation.delay) for each in free]
    return Unpaused(
        skipped=[each.planned(Verdict.SKIPPED) for each in (*forbidden, *stale, *overtaken)],
        held=Held(planned=held[0].planned(Verdict.HELD), until=held[0].until) if held else None,
        candidates=sorted(candidates, key=lambda candidate: candidate.due.slot),
    )


def by_policy(situation: Situation, candidates: Sequence[Candidate]) -> Iterator[PlannedSlot]:
    """Run or miss each candidate."""
    too_late, startable = _split(candidates, lambda each: _is_past_deadline(situation, each))
    on_time, late = _split(startable, lambda each: _is_on_time(situation, each))
    if too_late:
        yield from _missed(
            too_late, Why.of(Reason.DEADLINE, limit_seconds=situation.policy.starting_deadline)
        )
    yield from _on_time_slots(on_time)
    yield from _late_slots(situation, late, on_time)


def _stopped(situation: Situation, due: DueSlot) -> _Stopped:
    """By the pauses it lies in; if it lies in none and is noticed late, by those of the present."""
    own = [pause for pause in situation.pauses if pause.covers(due.slot)]
    present = [pause for pause in situation.pauses if pause.covers(situation.now)]
    waits_from = situation.now if present else due.slot
    return _Stopped(due=due, by=own or present, until=_end(situation.pauses, waits_from))


def _end(pauses: Sequence[PausePeriod], moment: datetime) -> datetime | None:
    """The first time from this one on that no pause covers; None where one is open."""
    while covering := [pause for pause in pauses if pause.covers(moment)]:
        ends = [pause.until for pause in covering if pause.until is not None]
        if len(ends) < len(covering):
            return None
        moment = max(ends)
    return moment


def _latest_of_each_end(waiting: Sequence[_Stopped]) -> tuple[list[_Stopped], list[_Stopped]]:
    """Of the slots that wait for the same end, the latest and the older ones."""
    groups = [list(group) for _, group in groupby(waiting, key=lambda each: each.until)]
    return [group[-1] for group in groups], [each for group in groups for each in group[:-1]]


def _is_past_deadline(situation: Situation, candidate: Candidate) -> bool:
    # From the slot also when a pause held it: late is late, whatever the cause.
    deadline = situation.policy.starting_deadline
    return deadline is not None and situation.horizon - candidate.due.slot > deadline


def _is_on_time(situation: Situation, candidate: Candidate) -> bool:
    # Many that are counted together cannot each have a run.
    is_alone = candidate.due.count == 1
    return is_alone and situation.now - candidate.start < situation.policy.misfire_grace


def _on_time_slots(on_time: Sequence[Candidate]) -> Iterator[PlannedSlot]:
    for each in on_time:
        if each.pause and each is not on_time[-1]:
            yield _planned(each.due, Verdict.SKIPPED, each.pause.why(Reason.PAUSED))
        else:
            why = each.pause.why(Reason.AFTER_PAUSE) if each.pause else NO_REASON
            yield _planned(each.due, Verdict.RUN, why)


def _late_slots(
    situation: Situation, late: Sequence[Candidate], on_time: Sequence[Candidate]
) -> Iterator[PlannedSlot]:
    expires = situation.window.expires
    if not late:
        return
    if expires is not None and expires <= situation.now:
        yield from _missed(late, Why.of(Reason.SCHEDULE_EXPIRED, expired_at=expires))
    elif situation.policy.misfire is Misfire.SKIP:
        yield from _missed(late, Why.of(Reason.LATE))
    elif situation.policy.misfire is Misfire.ONCE:
        yield from _once(late, on_time)
    else:
        yield from _all(late, situation.policy.catch_up_limit)


def _once(late: Sequence[Candidate], on_time: Sequence[Candidate]) -> Iterator[PlannedSlot]:
    target = on_time[-1] if on_time else late[-1]
    older = late if on_time else late[:-1]
    into = target.due.slot
    why = Why.of(Reason.COALESCED, slot=into)
    yield from (replace(each, coalesced_into=into) for each in _missed(older, why))
    if not on_time:
        yield _planned(target.due, Verdict.RUN, CAUGHT_UP)


def _all(late: Sequence[Candidate], limit: int) -> Iterator[PlannedSlot]:
    """The newest run; all others together have one record."""
    many, single = _split(late, lambda each: each.due.count > 1)
    yield from (_planned(each.due, Verdict.RUN, CAUGHT_UP) for each in single[-limit:])
    others = [each.due for each in many + single[:-limit]]
    if others:
        newest = max(due.slot for due in others)
        count = min(sum(due.count for due in others), 1 + MANY)
        together = DueSlot(slot=newest, count=count)
        yield _planned(together, Verdict.MISSED, Why.of(Reason.CATCH_UP_LIMIT, limit=limit))


def _missed(candidates: Sequence[Candidate], why: Why) -> Iterator[PlannedSlot]:
    return (_planned(each.due, Verdict.MISSED, why) for each in candidates)


def _planned(due: DueSlot, verdict: Verdict, why: Why) -> PlannedSlot:
    return PlannedSlot(scheduled_for=due.slot, verdict=verdict, why=why, coalesced=due.count - 1)


def _split(items: Sequence[_T], test: Callable[[_T], bool]) -> tuple[list[_T], list[_T]]:
    """The items that pass and those that do not, each in order."""
    passing: list[_T] = []
    failing: list[_T] = []
    for item in items:
        (passing if test(item) else failing).append(item)
    return passing, failing
