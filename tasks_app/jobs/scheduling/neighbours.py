"""Neighbours: the other schedules that are due in the same minutes.

Only each one's next slot is looked at, which the ledger knows and has an index for; so the answer takes one
query however many schedules there are. It is whole for the next minute, and a hint for the later ones: a
schedule that runs every minute is due next in one of them only.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from itertools import groupby
from operator import or_

from django.db.models import Count, Q, Window
from django.db.models.functions import RowNumber, TruncMinute

from tasks_app.jobs.models import NextSlot

NAMED = 5
"""How many are named in each minute; the others are counted."""
_MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """Who else is due in one minute."""

    minute: datetime
    names: tuple[str, ...]
    count: int

    @property
    def unnamed(self) -> int:
        """How many there are beside the named ones."""
        return self.count - len(self.names)


def in_minutes(minutes: Collection[datetime], *, but: int | None = None) -> list[Neighbours]:
    """Who is due next in these whole minutes, except one schedule; minutes without any are left out."""
    if not minutes:
        return []
    due = reduce(or_, (Q(due_at__gte=minute, due_at__lt=minute + _MINUTE) for minute in minutes))
    minute = TruncMinute("due_at", tzinfo=UTC)
    rows = (
        NextSlot.objects.filter(due)
        .exclude(pk=but)
        .annotate(minute=minute, total=Window(Count("*"), partition_by=minute))
        .annotate(place=Window(RowNumber(), partition_by=minute, order_by="schedule__name"))
        .filter(place__lte=NAMED)
        .order_by("minute", "place")
        .values_list("minute", "total", "schedule__name")
    )
    return [_neighbours(minute, list(group)) for minute, group in groupby(rows, key=lambda row: row[0])]


def _neighbours(minute: datetime, rows: list[tuple[datetime, int, str]]) -> Neighbours:
    return Neighbours(minute=minute, names=tuple(name for _minute, _total, name in rows), count=rows[0][1])
