"""How long a run may be silent, and since when this process could have heard it.

A lease runs only while heartbeats could be seen. While the database is unavailable or read-only, or the
machine is suspended, a missing heartbeat says nothing about its run; afterwards, every run has the rest of
its lease to send one.

Apart from what ends lost runs, since every beat watches, and most never have one to end.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from jobledger.conf import settings

# Two checks that are further apart than a quarter of a lease are a blackout; a busy tick takes less.
LEASE_DIVISOR = 4


@dataclass(frozen=True, kw_only=True)
class Blackout:
    """A period during which no heartbeat could be seen."""

    since: datetime
    until: datetime


class Watch:
    """When this process could see heartbeats.

    It uses wall-clock time, which continues while a machine is suspended, and which may be adjusted.
    """

    def __init__(self, now: datetime) -> None:
        """Start watching now."""
        self._seen_at = now
        self._blackouts: list[Blackout] = []

    def look(self, now: datetime, lease: timedelta) -> datetime:
        """Note that heartbeats can be seen now; returns when the last whole lease of visibility began."""
        if now < self._seen_at:
            self._blackouts = []  # the clock was set back, so their times are meaningless
        if now - self._seen_at > lease / LEASE_DIVISOR:
            self._blackouts.append(Blackout(since=self._seen_at, until=now))
        self._seen_at = now
        begin, left = now, lease
        for number, blackout in enumerate(reversed(self._blackouts)):
            seen = begin - blackout.until
            if seen >= left:
                self._blackouts = self._blackouts[len(self._blackouts) - number :]
                break
            begin, left = blackout.since, left - seen
        return begin - left


def lease_duration() -> timedelta:
    return timedelta(seconds=settings.LEASE_SECONDS)


def silence() -> timedelta:
    """How long after its last heartbeat a run is looked at."""
    return lease_duration() / LEASE_DIVISOR
