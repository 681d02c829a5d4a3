"""Neighbours: the other schedules that are due in the same minutes.

Only each one's next slot is looked at, which the ledger knows and has an index for; so the answer is quick
however many schedules there are. It is whole for the next minute, and a hint for the later ones: a schedule
that runs every minute is due next in one of them only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, QuerySet

from jobledger.models import NextSlot

NAMED = 5
"""How many are named in each minute, the first that are due; the others are counted."""
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


def in_minutes(minutes: Sequence[datetime], *, but: int | None = None) -> list[Neighbours]:
    """Who is due next in these whole minutes, except one schedule; minutes without any are left out.

    One query counts, and one for each minute that has any names the first of them.
    """
    others = NextSlot.objects.exclude(pk=but)
    return [
        Neighbours(minute=minute, names=_names(others, minute), count=count)
        for minute, count in zip(minutes, _counts(others, minutes), strict=True)
        if count
    ]


def _counts(others: QuerySet[NextSlot], minutes: Sequence[datetime]) -> list[int]:
    if not minutes:
        return []
    span = others.filter(due_at__gte=min(minutes), due_at__lt=max(minutes) + _MINUTE)
    counts = {f"in_{place}": Count("pk", filter=_due_in(minute)) for place, minute in enumerate(minutes)}
    found = span.aggregate(**counts)
    return [found[name] for name in counts]


def _names(others: QuerySet[NextSlot], minute: datetime) -> tuple[str, ...]:
    due = others.filter(_due_in(minute)).order_by("due_at", "pk")
    return tuple(due.values_list("schedule__name", flat=True)[:NAMED])


def _due_in(minute: datetime) -> Q:
    return Q(due_at__gte=minute, due_at__lt=minute + _MINUTE)
