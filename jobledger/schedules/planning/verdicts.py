"""Verdicts: what happens to due slots, according to their schedule's pauses and policy.

``by_pauses`` comes first: it skips or holds the slots that pauses stop, and leaves the rest as candidates.
``by_policy`` then decides which candidates run. Together they return each due slot exactly once.
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
    """What happens to a slot."""

    RUN = "run"
    MISSED = "missed"
    """It could not start in time."""
    EXPIRED = "expired"
    """It was queued, but did not start in time."""
    SKIPPED = "skipped"
    """It was not started on purpose."""
    HELD = "held"
    """Not decided until a pause ends."""


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
        """Slots up to and including this time are due."""
        return self.now - self.delay


@dataclass(frozen=True, kw_only=True)
class DueSlot:
    """A due slot, or the newest of several that are counted together."""

    slot: datetime
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class PlannedSlot:
    """A slot and what happens to it."""

    scheduled_for: datetime
    verdict: Verdict
    why: Why = NO_REASON
    """Empty for a slot that runs on time."""
    coalesced_into: datetime | None = None
    """The slot whose run replaces this one."""
    coalesced: int = 0
    """How many earlier slots this record also covers; ``MANY`` means that many or more."""
    moved_to: datetime | None = None
    """When it is due instead of at its own time, if a calendar moved it."""

    @property
    def due(self) -> datetime:
        """When it is due, apart from jitter."""
        return self.moved_to or self.scheduled_for


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A due slot that no pause stops, or stops any longer."""

    due: DueSlot
    start: datetime
    """When it should have started: its time plus the jitter, or the end of the pause that held it."""
    pause: PausePeriod | None = None


@dataclass(frozen=True, kw_only=True)
class Held:
    """The slot that runs when its pauses end; ``until`` is None while one of them is open-ended."""

    planned: PlannedSlot
    until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Unpaused:
    """Due slots, grouped by what the pauses do to them."""

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
    """When the last pause in the way ends; None while one is open-ended."""

    @property
    def pause(self) -> PausePeriod:
        """The pause that decides: one that skips takes precedence over one that holds."""
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
    """Skip, hold or pass on each due slot."""
    paused, free = _split([_stopped(situation, each) for each in due], lambda each: bool(each.by))
    skipped, waiting = _split(paused, lambda each: each.is_skipped)
    latest, older = _latest_of_each_end(waiting)
    released, blocked = _split(latest, lambda each: each.is_over_at(situation.now))
    # With a newer slot after it, even a skipped one, a slot is no longer the latest.
    held, superseded = _split(blocked, lambda each: each.due is due[-1])
    candidates = [each.as_candidate(situation.delay) for each in released]
    candidates += [Candidate(due=each.due, start=each.due.slot + situation.delay) for each in free]
    return Unpaused(
        skipped=[each.planned(Verdict.SKIPPED) for each in (*skipped, *older, *superseded)],
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
    """By the pauses that cover the slot; if there are none, by those that cover the current time."""
    own = [pause for pause in situation.pauses if pause.covers(due.slot)]
    current = [pause for pause in situation.pauses if pause.covers(situation.now)]
    waits_from = situation.now if current else due.slot
    return _Stopped(due=due, by=own or current, until=_end(situation.pauses, waits_from))


def _end(pauses: Sequence[PausePeriod], at: datetime) -> datetime | None:
    """The first time at or after this one that no pause covers; None if one is open-ended."""
    while covering := [pause for pause in pauses if pause.covers(at)]:
        ends = [pause.until for pause in covering if pause.until is not None]
        if len(ends) < len(covering):
            return None
        at = max(ends)
    return at


def _latest_of_each_end(waiting: Sequence[_Stopped]) -> tuple[list[_Stopped], list[_Stopped]]:
    """Of the slots that wait for the same end: the latest, and the older ones."""
    groups = [list(group) for _, group in groupby(waiting, key=lambda each: each.until)]
    return [group[-1] for group in groups], [each for group in groups for each in group[:-1]]


def _is_past_deadline(situation: Situation, candidate: Candidate) -> bool:
    # Counted from the slot even if a pause held it: the reason for being late makes no difference.
    deadline = situation.policy.starting_deadline
    return deadline is not None and situation.horizon - candidate.due.slot > deadline


def _is_on_time(situation: Situation, candidate: Candidate) -> bool:
    # Slots that are counted together cannot have a run each.
    is_single = candidate.due.count == 1
    return is_single and situation.now - candidate.start < situation.policy.misfire_grace


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
    """The newest slots run; a single record covers all the others."""
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
