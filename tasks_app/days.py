"""Calendar days of a time zone as half-open intervals. Pure.

The intervals of consecutive days have no gaps and do not overlap, so every time belongs to exactly one day,
even if the clock changes during the day, at midnight, or by a whole day.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

ONE_DAY = timedelta(days=1)


def bounds(day: date, zone: tzinfo) -> tuple[datetime, datetime]:
    """The start (inclusive) and the end (exclusive) of the day, in UTC; usually 23, 24 or 25 hours apart."""
    return start_of(day, zone), start_of(day + ONE_DAY, zone)


def start_of(day: date, zone: tzinfo) -> datetime:
    """The start of the day, in UTC: midnight, or if the clock skips it, the end of the gap."""
    midnight = datetime.combine(day, time.min, zone)
    latest = midnight.astimezone(UTC)
    if latest.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return latest
    earliest = midnight.replace(fold=1).astimezone(UTC)
    return _first_second_on(day, zone, earliest, latest)


def between(first: date, last: date) -> Iterator[date]:
    """Yield every day from the first to the last (inclusive)."""
    for number in range((last - first).days + 1):
        yield first + number * ONE_DAY


def _first_second_on(day: date, zone: tzinfo, before: datetime, within: datetime) -> datetime:
    """Bisect for the second at which the local date becomes this day, or a later one."""
    while within - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(within - before) // timedelta(seconds=2))
        if middle.astimezone(zone).date() < day:
            before = middle
        else:
            within = middle
    return within
