"""Converts between UTC and a zone's wall-clock time.

A wall-clock time is a naive datetime. Most of them occur once. Those in the spring-forward gap never
occur, and those in the fall-back fold occur twice: ``fold`` is 0 for the first occurrence and 1 for
the second. All other datetimes here are aware and in UTC.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobledger.schedules.rules.slots import RuleError

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""Between these two, every time is representable in every zone."""

_SECOND = timedelta(seconds=1)
_UTC = frozenset({"UTC", "UCT", "Universal", "Zulu", "GMT", "GMT0", "GMT+0", "GMT-0", "Greenwich"})
"""Also below ``Etc/``."""


def zone_named(name: str) -> ZoneInfo:
    """The IANA zone of that name. Raises RuleError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # A directory ("Europe") raises OSError, a path ("../x") ValueError.
        message = f"time zone: {name!r} is not an IANA time zone, such as Europe/London"
        raise RuleError(message, field="time zone") from None


def is_same_zone(one: str, other: str) -> bool:
    """Whether two zones are the same, or two names of UTC."""
    return canonical_zone(one) == canonical_zone(other)


def canonical_zone(name: str) -> str:
    """The same for all names of UTC; any other name stays as it is."""
    return "UTC" if name.removeprefix("Etc/") in _UTC else name


def is_representable(at: datetime) -> bool:
    """Whether the time can be expressed in every zone."""
    return EARLIEST <= at < LATEST


def to_wall(at: datetime, zone: ZoneInfo) -> datetime:
    """The wall-clock time in the zone, with its ``fold``."""
    return at.astimezone(zone).replace(tzinfo=None)


def to_utc(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime | None:
    """The first (0) or second (1) occurrence of a wall-clock time, or None if it is in a gap.

    If it occurs only once, both folds give the same result. For a given fold, results increase
    with the wall-clock time.
    """
    local = wall.replace(tzinfo=zone, fold=fold)
    at = local.astimezone(UTC)
    # Two datetimes in the same zone are compared by their wall-clock times.
    return at if at.astimezone(zone) == local else None


def spans_showing(begin: datetime, end: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """When the clock shows a time from one wall-clock time until before another, at most a day later.

    Each span includes its start, but not its end. There are two if a part of it occurs twice, and none if the
    clock skips it.
    """
    offset = begin.replace(tzinfo=zone, fold=0).utcoffset()
    if offset is not None and offset == end.replace(tzinfo=zone, fold=1).utcoffset():
        return [((begin - offset).replace(tzinfo=UTC), (end - offset).replace(tzinfo=UTC))]
    (since, again), (until, last) = (
        [to_utc(wall, zone, fold=fold) or end_of_gap(wall, zone) for fold in (0, 1)] for wall in (begin, end)
    )
    spans = [(since, until)]
    if (since, until) != (again, last):
        change = transition_between(since, last, zone)
        spans = [(since, min(until, change)), (max(again, change), last)]
    return [span for span in spans if span[0] < span[1]]


def fold_length(at: datetime, zone: ZoneInfo) -> timedelta:
    """How long ago, or in how long, the same wall-clock time occurs again; zero outside a fold."""
    local = at.astimezone(zone)
    twin = local.replace(fold=1 - local.fold).astimezone(UTC)
    return abs(twin - at)


def end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """The end of the gap that contains this wall-clock time."""
    # PEP 495: in a gap, the two folds are converted with the offsets from either side of the transition.
    before, after = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    return transition_between(before, after, zone)


def transition_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first second with the new offset, found by bisection; the offsets at the two times must differ."""
    old = offset_at(before, zone)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        before, after = (middle, after) if offset_at(middle, zone) == old else (before, middle)
    return after.replace(microsecond=0)


def offset_at(at: datetime, zone: ZoneInfo) -> timedelta | None:
    """How far the zone is ahead of UTC at this time."""
    return at.astimezone(zone).utcoffset()
