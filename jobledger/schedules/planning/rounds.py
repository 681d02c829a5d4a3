"""Rounds: which ended runs of the predecessors together start a follower. Pure: reads no clock.

A follower starts after one or more schedules, its predecessors. These may have different times, so what
counts as "the same scheduled time" is a rule of its own. Each time that a predecessor was due counts once, in
their order, and a round takes some of each predecessor:

1. The round's time is the earliest by which each predecessor has been due since the round before.
2. Of each predecessor, the last time that it was due up to and including that one decides. Earlier ones, of
   a predecessor that is due more often than another, belong to the round but decide nothing.
3. The round is complete once everything that was due up to its time has ended, retries included.
4. The follower starts if each deciding run counts as an end to start after, and is given the round's time.
   Otherwise the round is over without a start.

So predecessors that are due at the same times are matched by these. The rounds follow from when the
predecessors were due and how that ended, and not from the order in which it ended, nor from when or how often
somebody looks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class End:
    """What became of one time at which a predecessor was due."""

    due: datetime
    slot: datetime
    """The same, or, if calendars have moved it, the time at which it would have been due."""
    counts: bool
    """Whether the follower starts after such an end."""
    ended_at: datetime


@dataclass(frozen=True, kw_only=True)
class PredecessorEnds:
    """What is known of a predecessor since the last round."""

    ends: Sequence[End]
    """Oldest first."""
    open_since: datetime | None = None
    """The earliest time that it is due without having ended, passed or not; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """A complete round."""

    deciding: tuple[End, ...]
    """One of each predecessor."""

    @property
    def due(self) -> datetime:
        """The round's time."""
        return max(each.due for each in self.deciding)

    @property
    def slot(self) -> datetime:
        """What the follower is given as the time that it was scheduled for."""
        return max(each.slot for each in self.deciding if each.due == self.due)

    @property
    def starts(self) -> bool:
        return all(each.counts for each in self.deciding)

    @property
    def completed_at(self) -> datetime:
        return max(each.ended_at for each in self.deciding)


def rounds(predecessors: Sequence[PredecessorEnds]) -> Iterator[Round]:
    """Yield the rounds that are complete, oldest first."""
    rest = [list(each.ends) for each in predecessors]
    while rest and all(rest):
        due = max(ends[0].due for ends in rest)
        if any(each.open_since is not None and each.open_since <= due for each in predecessors):
            return
        parts = [[end for end in ends if end.due <= due] for ends in rest]
        rest = [ends[len(part) :] for ends, part in zip(rest, parts, strict=True)]
        yield Round(deciding=tuple(part[-1] for part in parts))


def superfluous(predecessors: Sequence[PredecessorEnds], now: datetime) -> list[datetime | None]:
    """Of each predecessor, up to which time its ends no longer matter to any later round; None: they all do.

    To be asked when there is no complete round. While one predecessor is not due for long, others may be due
    very often, and only the last of each decides.
    """
    bounds = [_earliest_next(each, now) for each in predecessors if not each.ends]
    if not bounds:
        return [None] * len(predecessors)
    return [_before_last(each.ends, min(bounds)) for each in predecessors]


def _earliest_next(predecessor: PredecessorEnds, now: datetime) -> datetime:
    """Before this time, no more ends of it will be known."""
    return now if predecessor.open_since is None else min(predecessor.open_since, now)


def _before_last(ends: Sequence[End], bound: datetime) -> datetime | None:
    known = [end.due for end in ends if end.due <= bound]
    return known[-2] if len(known) > 1 else None
