"""Moments, zones and lengths of time on the operator's command lines, read and shown.

What is written wrongly raises ``CommandError``, which names the option: exit code 1. argparse's own types
would exit with 2, and cannot know the zone that a moment without an offset is meant in.
"""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError

from jobledger.schedules.rules import wallclock
from jobledger.schedules.rules.slots import RuleError, zone_named

MOMENT_HELP = "ISO 8601, such as 2026-10-24T00:00; without an offset it is meant in the zone"
DURATION_HELP = "such as 90s, 1h30m or 2d"

_DURATION = re.compile(
    r"(?:(?P<weeks>[0-9]{1,9})w)?(?:(?P<days>[0-9]{1,9})d)?(?:(?P<hours>[0-9]{1,9})h)?"
    r"(?:(?P<minutes>[0-9]{1,9})m)?(?:(?P<seconds>[0-9]{1,9})s)?"
)
_LONGEST = timedelta(days=36525)


def zone(text: str, option: str) -> ZoneInfo:
    """The IANA zone of that name."""
    try:
        return zone_named(text)
    except RuleError as error:
        raise CommandError(f"{option}: {error}") from None


def moment(text: str, option: str, zone: ZoneInfo) -> datetime:
    """A moment in UTC, read from ISO 8601.

    Without an offset it is what the zone's clock shows: a time that comes twice means its first coming, and
    one that is leapt over means the end of the leap.
    """
    try:
        found = datetime.fromisoformat(text)
        in_utc = found.astimezone(UTC) if found.tzinfo else _by_the_clock(found, zone)
    except OverflowError:
        raise CommandError(f"{option}: {text!r} is beyond the calendar") from None
    except ValueError:
        example = "write it like 2026-10-24, 2026-10-24T01:30 or 2026-10-24T01:30+01:00"
        raise CommandError(f"{option}: {text!r} is not a moment; {example}") from None
    if not wallclock.can_be_told(in_utc):
        years = f"{wallclock.EARLIEST.year} to {wallclock.LATEST.year - 1}"
        raise CommandError(f"{option}: {text!r} is not in the years {years}")
    return in_utc


def duration(text: str, option: str) -> timedelta:
    """A length of time, read from numbers with units, the largest first."""
    match = _DURATION.fullmatch(text)
    if not match or not text:
        units = "numbers with the units w, d, h, m and s"
        raise CommandError(f"{option}: {text!r} is not a length of time; write {units}, {DURATION_HELP}")
    try:
        found = timedelta(**{unit: int(number or 0) for unit, number in match.groupdict().items()})
    except OverflowError:
        found = timedelta.max
    if found > _LONGEST:
        raise CommandError(f"{option}: {text!r} is longer than a hundred years")
    return found


def span(text: str, option: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Two moments with a slash between them, the earlier one first."""
    first, slash, last = text.partition("/")
    if not slash:
        raise CommandError(f"{option}: {text!r} is not two moments FROM/TO with a slash between them")
    start, end = moment(first, option, zone), moment(last, option, zone)
    if end <= start:
        raise CommandError(f"{option}: {text!r} ends before it begins")
    return start, end


def shown(moment: datetime, zone: ZoneInfo) -> str:
    """ISO 8601 with the zone's offset."""
    return moment.astimezone(zone).isoformat()


def _by_the_clock(wall: datetime, zone: ZoneInfo) -> datetime:
    return wallclock.moment_of(wall, zone, fold=0) or wallclock.end_of_gap(wall, zone)
