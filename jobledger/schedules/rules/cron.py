"""Cron: the slots of an expression in a zone, by the rules of Debian's cron.

The expression is matched against the clock on the wall by cronsim, which is given readings without a
zone; what a reading means in UTC is decided here. So clock changes of any size are treated alike,
forward and backward (cronsim's own treatment skips slots where clocks move by half an hour, and may
answer with a slot before the moment asked for).

- A job with fixed times (neither minute nor hour begins with ``*``) runs once a day: a time in the
  spring gap counts as the end of the gap, a time in the autumn fold as its first coming.
- A job whose minute or hour begins with ``*`` follows the clock: it runs whenever the clock shows a
  match, so never in a gap and in both hours of a fold.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim

from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.cron_expression import ParsedCron, parse
from jobledger.schedules.rules.slots import Rule, RuleError

_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Cron(Rule):
    """Five fields of cron, evaluated in a zone."""

    expression: str
    zone: ZoneInfo
    """A row whose zone is empty in the database gives None: that is refused."""

    def __post_init__(self) -> None:
        # So rules of one meaning are equal, however they are written.
        object.__setattr__(self, "expression", parse(self.expression).fields)
        if not isinstance(self.zone, ZoneInfo):
            raise RuleError(f"the time zone is {self.zone or 'empty'}", field="time zone")

    @property
    def parsed(self) -> ParsedCron:
        return parse(self.expression)

    def first_after(self, moment: datetime) -> datetime | None:
        wall = wallclock.wall_at(moment, self.zone)
        first = self._first(wall, fold=0, after=moment)
        if not self.parsed.follows_clock:
            return first
        repeated = wallclock.repetition(moment, self.zone)
        if not repeated:
            return first
        return _earlier(first, self._first(wall - repeated, fold=1, after=moment))

    def last_before(self, moment: datetime) -> datetime | None:
        wall = wallclock.wall_at(moment, self.zone)
        repeated = wallclock.repetition(moment, self.zone)
        if not self.parsed.follows_clock:
            return self._last(wall + repeated, fold=0, before=moment)
        last = self._last(wall, fold=1, before=moment)
        if not repeated:
            return last
        return _later(last, self._last(wall + repeated, fold=0, before=moment))

    def _first(self, wall: datetime, *, fold: int, after: datetime) -> datetime | None:
        moments = self._moments(_walls_after(self.parsed.canonical, wall), fold=fold)
        return next((moment for moment in moments if moment > after), None)

    def _last(self, wall: datetime, *, fold: int, before: datetime) -> datetime | None:
        moments = self._moments(_walls_before(self.parsed.canonical, wall), fold=fold)
        return next((moment for moment in moments if moment < before), None)

    def _moments(self, walls: Iterator[datetime], *, fold: int) -> Iterator[datetime]:
        for wall in walls:
            moment = wallclock.moment_of(wall, self.zone, fold=fold)
            if moment is not None:
                yield moment
            elif not self.parsed.follows_clock:
                yield wallclock.end_of_gap(wall, self.zone)


def _walls_after(expression: str, wall: datetime) -> Iterator[datetime]:
    match: datetime | None = _whole_minute(wall)
    while match is not None and (match := _match_after(expression, match)) is not None:
        yield match


def _walls_before(expression: str, wall: datetime) -> Iterator[datetime]:
    whole = _whole_minute(wall)
    match: datetime | None = whole if whole == wall else whole + _MINUTE
    while match is not None and (match := _match_before(expression, match)) is not None:
        yield match


def _whole_minute(wall: datetime) -> datetime:
    # Most readings are whole minutes already, and replace() is slow.
    is_whole = not (wall.second or wall.microsecond or wall.fold)
    return wall if is_whole else wall.replace(second=0, microsecond=0, fold=0)


# Asked with whole minutes only, and many schedules share an expression, so most answers are at hand.
@lru_cache(maxsize=8192)
def _match_after(expression: str, minute: datetime) -> datetime | None:
    return next(CronSim(expression, minute), None)


@lru_cache(maxsize=8192)
def _match_before(expression: str, minute: datetime) -> datetime | None:
    return next(CronSim(expression, minute, reverse=True), None)


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((moment for moment in (one, other) if moment is not None), default=None)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment is not None), default=None)
