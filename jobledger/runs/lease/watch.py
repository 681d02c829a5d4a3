"""A watch: how long heartbeats could be heard.

While the database is away or takes no writes, or the machine is suspended, no run can show that it lives.
That silence says nothing about it: a lease only runs while the watch hears. So when the database is back,
every run has the rest of its lease to be heard of.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

# A longer pause between two looks is one in which nothing was seen; a busy tick is shorter.
BLIND_PART_OF_A_LEASE = 4


@dataclass(frozen=True, kw_only=True)
class Darkness:
    """A span in which nothing was seen."""

    since: datetime
    until: datetime


class Watch:
    """One process's watch. By the wall clock, which goes on while a machine is suspended, and may be set."""

    def __init__(self, now: datetime) -> None:
        """From now on; of what was before nothing is known."""
        self._seen_at = now
        self._dark: list[Darkness] = []

    def look(self, now: datetime, lease: timedelta) -> datetime:
        """Note that it sees at this moment; returns the moment since which it has seen a whole lease long."""
        if now < self._seen_at:
            self._dark = []  # the clock was set back: the spans of before mean nothing on it
        if now - self._seen_at > lease / BLIND_PART_OF_A_LEASE:
            self._dark.append(Darkness(since=self._seen_at, until=now))
        self._seen_at = now
        begin, left = now, lease
        for number, dark in enumerate(reversed(self._dark)):
            seen = begin - dark.until
            if seen >= left:
                self._dark = self._dark[len(self._dark) - number :]
                break
            begin, left = dark.since, left - seen
        return begin - left
