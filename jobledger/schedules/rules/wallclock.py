"""What a zone's clock on the wall shows, and when it shows it.

A *wall* is a naive datetime: a reading of that clock. Most readings come once. Those that a clock set
forward leaps over (the spring gap) never come, and those that a clock set back shows again (the
autumn fold) come twice: ``fold`` 0 is the first time, 1 the second. Moments are aware and in UTC.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jobledger.schedules.rules.slots import RuleError

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
"""Between these two every zone can show every moment."""

_SECOND = timedelta(seconds=1)


def zone_named(name: str) -> ZoneInfo:
    """The IANA zone of that name, or a ``RuleError``."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        # A folder's name ("Europe") is an OSError, a path ("../x") a ValueError.
        message = f"time zone: {name!r} is not known; it is a name such as Europe/London"
        raise RuleError(message, field="time zone") from None


def can_be_told(moment: datetime) -> bool:
    """Whether every zone's clock can show the moment."""
    return EARLIEST <= moment < LATEST


def wall_at(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the clock shows at the moment; its ``fold`` says which time it shows it."""
    return moment.astimezone(zone).replace(tzinfo=None)


def moment_of(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime | None:
    """When the clock shows it for the first (0) or second (1) time; None in a gap.

    For a wall that comes once both folds are the same moment. For one fold, a later wall is a later
    moment.
    """
    local = wall.replace(tzinfo=zone, fold=fold)
    moment = local.astimezone(UTC)
    # Within one zone datetimes are compared by what the clock shows.
    return moment if moment.astimezone(zone) == local else None


def repetition(moment: datetime, zone: ZoneInfo) -> timedelta:
    """How far the clock is set back over what it shows at the moment; zero when it shows it once."""
    local = moment.astimezone(zone)
    twin = local.replace(fold=1 - local.fold).astimezone(UTC)
    return abs(twin - moment)


def end_of_gap(wall: datetime, zone: ZoneInfo) -> datetime:
    """The moment at which the clock leaps over this wall, which must lie in a gap."""
    # By the standard's rule the two readings of a wall in a gap lie on either side of the leap.
    before, after = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (1, 0))
    return change_between(before, after, zone)


def change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The first second of the zone's other offset, found by bisection; the two moments must differ in it."""
    old = offset_at(before, zone)
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        before, after = (middle, after) if offset_at(middle, zone) == old else (before, middle)
    return after.replace(microsecond=0)


def offset_at(moment: datetime, zone: ZoneInfo) -> timedelta | None:
    """How far the clock is ahead of UTC at the moment."""
    return moment.astimezone(zone).utcoffset()
