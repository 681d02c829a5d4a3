"""Times and durations as plain text, the same in the admin, on the command line and in alerts."""

import re
from datetime import datetime, timedelta

from django.utils import timezone

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
LONGEST_DURATION = timedelta(days=36525)
"""A longer one is a mistake, and may be more than a time can be moved by."""

_NAMES = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "min": "minutes", "s": "seconds"}
_PART = re.compile(r"([0-9]{1,9})\s*(w|d|h|min|m|s)")
_PARTS = re.compile(rf"(?:{_PART.pattern}\s*)+")


def exact(moment: datetime) -> str:
    """``2026-11-22 03:00:00 CET``, in the current time zone."""
    local = timezone.localtime(moment)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def relative(moment: datetime, now: datetime) -> str:
    """``in 5 min``, ``2 h ago``, ``now``."""
    away = moment - now
    if abs(away) < timedelta(seconds=1):
        return "now"
    length = duration(abs(away), parts=1)
    return f"in {length}" if away > timedelta(0) else f"{length} ago"


def duration(length: timedelta, *, parts: int = 2) -> str:
    """``1 h 5 min``; below ten seconds with a decimal, below a tenth in ms. Lesser units are cut off."""
    seconds = length.total_seconds()
    if seconds < 0.1:
        return f"{seconds * 1000:.0f} ms"
    # Else 9.96 would be formatted as 10.0.
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    rest, found = round(seconds), list[str]()
    for unit, size in UNITS:
        count, rest = divmod(rest, size)
        if count or found:
            found.append(f"{count} {unit}" if count else "")
    return " ".join(part for part in found[:parts] if part)


def took(begin: datetime | None, end: datetime | None) -> str:
    """How long something lasted that had a beginning and an end; else empty. Clocks may have disagreed."""
    if begin is None or end is None:
        return ""
    return duration(max(end - begin, timedelta(0)))


def duration_in(text: str) -> timedelta | None:
    """The duration that a user typed: 90s, 1h30m, 1 h 30 min, 2d; None if it is not one.

    A unit that comes twice counts twice. What is too long for a timedelta is its maximum.
    """
    text = text.strip().lower()
    if not _PARTS.fullmatch(text):
        # Also a bare number, which could be seconds or minutes.
        return None
    try:
        parts = (timedelta(**{_NAMES[unit]: int(count)}) for count, unit in _PART.findall(text))
        return sum(parts, timedelta(0))
    except OverflowError:
        return timedelta.max
