"""Calendar days of a time zone as half-open intervals of time. Pure.

The intervals of consecutive days leave no gap and do not overlap, so that every moment belongs to
exactly one day: also when the clock is changed within the day, at midnight, or by a whole day.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

ONE_DAY = timedelta(days=1)


def bounds(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """The first moment of the day and the first moment after it, in UTC: 23, 24 or 25 hours as a rule."""
    return start_of(day, zone), start_of(day + ONE_DAY, zone)


def start_of(day: date, zone: tzinfo) -> datetime:
    """The first moment of the day, in UTC: midnight, or where the clock jumps over it, the jump."""
    midnight = datetime.combine(day, time.min, zone)
    latest = midnight.astimezone(UTC)
    if latest.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return latest
    earliest = midnight.replace(fold=1).astimezone(UTC)
    return _first_moment_on(day, zone, earliest, latest)


def between(first: date, last: date) -> Iterator[date]:
    """Every day from the first to the last, both included."""
    for number in range((last - first).days + 1):
        yield first + number * ONE_DAY


def _first_moment_on(day: date, zone: tzinfo, before: datetime, within: datetime) -> datetime:
    """Halve the span until the second at which the local date turns to the day, or past it, is found."""
    while within - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(within - before) // timedelta(seconds=2))
        if middle.astimezone(zone).date() < day:
            before = middle
        else:
            within = middle
    return within
