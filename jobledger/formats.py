"""Formats times, durations and sizes, in the same way in the admin, on the command line and in alerts."""

import re
from datetime import UTC, datetime, timedelta, tzinfo

from django.utils import timezone

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
MAX_DURATION = timedelta(days=36525)
"""Anything longer is a mistake, and adding it to a datetime could overflow."""

MEGABYTE = 1024 * 1024
"""As in Docker's limits, ``free`` and ``ps``: a power of two."""

_SIZES = {"KB": 1024, "MB": MEGABYTE, "GB": 1024 * MEGABYTE, "TB": 1024 * 1024 * MEGABYTE}
_SIZE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)\s*(KB|MB|GB|TB)")
_NAMES = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "min": "minutes", "s": "seconds"}
_PART = re.compile(r"([0-9]{1,9})\s*(w|d|h|min|m|s)")
_PARTS = re.compile(rf"(?:{_PART.pattern}\s*)+")


def exact(time: datetime, zone: tzinfo | None = None) -> str:
    """``2026-11-22 03:00:00 CET``, in this or the current time zone."""
    local = local_time(time, zone)
    # An aware datetime would also format its offset.
    return f"{local.date().isoformat()} {local.time().isoformat('seconds')} {local.tzname()}"


def local_time(time: datetime, zone: tzinfo | None = None) -> datetime:
    """In this or the current time zone; in UTC, if the zone has no such time."""
    try:
        return timezone.localtime(time, zone)
    except OverflowError:  # on the first or the last day of the calendar
        return time.astimezone(UTC)


def relative(time: datetime, now: datetime) -> str:
    """``in 5 min``, ``2 h ago``, ``now``."""
    difference = time - now
    if abs(difference) < timedelta(seconds=1):
        return "now"
    length = duration(abs(difference), parts=1)
    return f"in {length}" if difference > timedelta(0) else f"{length} ago"


def duration(length: timedelta, *, parts: int = 2) -> str:
    """``1 h 5 min``; with a decimal below ten seconds, in ms below a tenth. Smaller units are dropped."""
    seconds = length.total_seconds()
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    # Otherwise 9.96 would be formatted as 10.0.
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    rest, found = round(seconds), list[str]()
    if rest < 60:  # as most are
        return f"{rest} s"
    for unit, size in [each for each in UNITS if each[1] <= rest][:parts]:
        count, rest = divmod(rest, size)
        if count:
            found.append(f"{count} {unit}")
    return " ".join(found)


def seconds(count: float) -> str:
    """As ``duration``, for a number that may be none that a duration can have, such as infinity."""
    try:
        return duration(timedelta(seconds=count))
    except (OverflowError, ValueError):
        return f"{count:g} s"


def plain_seconds(length: timedelta) -> str:
    """``90``, ``0.5``: for other programs."""
    return f"{length.total_seconds():.6f}".rstrip("0").removesuffix(".")


def as_sentence(clause: str) -> str:
    """With a capital letter and a full stop."""
    return f"{clause[:1].upper()}{clause[1:]}."


def took(begin: datetime | None, end: datetime | None) -> str:
    """The duration from start to end; empty if one is missing. Never negative, even if clocks disagree."""
    if begin is None or end is None:
        return ""
    return duration(max(end - begin, timedelta(0)))


def duration_from_text(text: str) -> timedelta | None:
    """Parse a duration: 90s, 1h30m, 1 h 30 min, 2d; None if it is not valid.

    A unit may occur more than once. A value too large for a timedelta becomes the maximum.
    """
    text = text.strip().lower()
    if not _PARTS.fullmatch(text):
        # This includes a bare number, which could mean seconds or minutes.
        return None
    try:
        parts = (timedelta(**{_NAMES[unit]: int(count)}) for count, unit in _PART.findall(text))
        return sum(parts, timedelta(0))
    except OverflowError:
        return timedelta.max


def duration_text(length: timedelta) -> str:
    """Exactly: 1 h 30 min, as ``duration_from_text`` reads it, or 0:00:00.250000 if it has no such text."""
    text = duration(length, parts=4) if length else "0 s"
    return text if duration_from_text(text) == length else str(length)


def size(count: int) -> str:
    """A number of bytes: ``84 MB``; with a decimal below ten, as ``1.5 GB``."""
    unit, length = next((each for each in reversed(_SIZES.items()) if count >= each[1]), ("bytes", 1))
    # Otherwise 9.96 would be formatted as 10.0.
    text = f"{count / length:.1f}" if count / length < 9.95 else f"{count / length:.0f}"
    return f"{text.removesuffix('.0')} {unit}"


def size_from_text(text: str) -> int | None:
    """Parse a size in bytes: 512 MB, 1.5GB; None if it is not valid, or zero."""
    found = _SIZE.fullmatch(text.strip().upper())
    return int(float(found[1]) * _SIZES[found[2]]) or None if found else None
