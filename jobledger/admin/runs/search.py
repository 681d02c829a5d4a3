"""Finds runs in a ledger of any length: by what is asked, newest first, a page after the other.

Nothing is counted, and no page costs more for being far back: a page begins at a position (the queue's
moment and the id), not at a number. Each filter has an index in the order of the ledger. With one filter
that index gives the page. With several, the one that reaches furthest back leads, a bounded number of its
runs is looked at, and the other filters choose among them; when these are not enough for a page, the
result says how far it has looked, and the next page goes on there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Left

from jobledger.models import Run

PAGE_SIZE = 50
MOST_LOOKED_AT = 10_000
MOST_BRANCHES = 12
ERROR_CHARACTERS = 300

_FIRST, _LAST = UUID(int=0), UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, kw_only=True)
class Position:
    """A place in the ledger: before or after it are runs, at it one at most."""

    queued_at: datetime
    run_id: UUID

    def __str__(self) -> str:
        return f"{self.queued_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{self.run_id.hex}"

    @classmethod
    def read(cls, text: str) -> "Position | None":
        """The position that was written so; None where it makes no sense."""
        moment, _, run_id = text.partition("-")
        try:
            queued_at = datetime.strptime(moment, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
            return cls(queued_at=queued_at, run_id=UUID(run_id))
        except ValueError:
            return None

    @classmethod
    def of(cls, run: Run) -> "Position":
        """Where the run stands."""
        return cls(queued_at=run.queued_at, run_id=run.pk)


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """A page's beginning, and whether it goes on to newer runs from there."""

    position: Position
    to_newer: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which runs are wanted. Of each filter None is all, and an empty tuple none."""

    statuses: tuple[str, ...] | None = None
    jobs: tuple[str, ...] | None = None
    triggers: tuple[str, ...] | None = None
    schedule_ids: tuple[int, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    """The end itself is not wanted any more."""
    ids: tuple[UUID, ...] | None = None

    @property
    def filters(self) -> dict[str, tuple[Any, ...]]:
        """The filters that have an index of their own, by its column."""
        named = {
            "schedule": self.schedule_ids,
            "job": self.jobs,
            "status": self.statuses,
            "trigger": self.triggers,
        }
        return {column: values for column, values in named.items() if values is not None}


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some runs, newest first, and where the pages beside them begin."""

    runs: list[Run]
    newer: Cursor | None
    older: Cursor | None
    looked_until: datetime | None = None
    """How far was looked, where that is not as far as was asked."""
    by_id: bool = False
    """Whether runs were wanted by the beginning of their id."""


@dataclass(frozen=True, kw_only=True)
class _Lead:
    """The filter whose index is walked, one branch for each of its values."""

    column: str
    branches: tuple[Mapping[str, Any], ...]
    bound: datetime | None = None
    """Where the walk ends early."""


def look(asked: Asked, cursor: Cursor | None = None) -> Page:
    """One page."""
    to_newer = cursor is not None and cursor.to_newer
    if any(values == () for values in asked.filters.values()):
        return Page(runs=[], newer=None, older=None)
    within = _wanted(asked, cursor)
    lead = _lead(asked, within, to_newer=to_newer)
    rows = _rows(asked, within, lead, to_newer=to_newer)
    return replace(_page(rows, cursor, lead.bound), by_id=asked.ids is not None)


def _page(rows: list[Run], cursor: Cursor | None, bound: datetime | None) -> Page:
    to_newer = cursor is not None and cursor.to_newer
    runs, has_more = rows[:PAGE_SIZE], len(rows) > PAGE_SIZE
    end = Position.of(runs[-1]) if has_more else _at_bound(bound, to_newer=to_newer)
    onward = Cursor(position=end, to_newer=to_newer) if end else None
    begin = Position.of(runs[0]) if runs else cursor and cursor.position
    back = Cursor(position=begin, to_newer=not to_newer) if cursor and begin else None
    return Page(
        runs=runs[::-1] if to_newer else runs,
        newer=onward if to_newer else back,
        older=back if to_newer else onward,
        looked_until=None if has_more else bound,
    )


def _at_bound(bound: datetime | None, *, to_newer: bool) -> Position | None:
    if bound is None:
        return None
    return Position(queued_at=bound, run_id=_LAST if to_newer else _FIRST)


def _wanted(asked: Asked, cursor: Cursor | None) -> Q:
    """The stretch of the ledger that the page is in."""
    wanted = Q()
    if asked.since is not None:
        wanted &= Q(queued_at__gte=asked.since)
    if asked.until is not None:
        wanted &= Q(queued_at__lt=asked.until)
    if asked.ids is not None:
        wanted &= Q(pk__in=asked.ids)
    if cursor is not None:
        wanted &= _beyond(cursor)
    return wanted


def _beyond(cursor: Cursor) -> Q:
    at, direction = cursor.position, "gt" if cursor.to_newer else "lt"
    beyond = Q(**{f"queued_at__{direction}": at.queued_at}) | Q(**{f"pk__{direction}": at.run_id})
    # Its first part alone is what an index can begin at.
    return Q(**{f"queued_at__{direction}e": at.queued_at}) & beyond


def _lead(asked: Asked, within: Q, *, to_newer: bool) -> _Lead:
    filters = asked.filters
    candidates = [
        _Lead(column=column, branches=tuple({column: value} for value in values))
        for column, values in filters.items()
        if len(values) <= MOST_BRANCHES
    ]
    everything = _Lead(column="", branches=({},))
    if asked.ids is not None or not filters:
        return everything
    if len(filters) == len(candidates) == 1:
        return candidates[0]
    return _furthest(candidates or [everything], within, to_newer=to_newer)


def _furthest(candidates: list[_Lead], within: Q, *, to_newer: bool) -> _Lead:
    """The one that a bounded walk brings furthest: to the end, if there is one."""
    measured: list[tuple[datetime, _Lead]] = []
    for lead in candidates:
        bound = _bound(lead, within, to_newer=to_newer)
        if bound is None:
            return lead
        measured.append((bound, _Lead(column=lead.column, branches=lead.branches, bound=bound)))
    choose = max if to_newer else min
    return choose(measured, key=lambda each: each[0])[1]


def _bound(lead: _Lead, within: Q, *, to_newer: bool) -> datetime | None:
    """The moment up to which so many runs stand; None where there are not so many."""
    order, most = "queued_at" if to_newer else "-queued_at", MOST_LOOKED_AT // len(lead.branches)
    bounds: list[datetime] = []
    for branch in lead.branches:
        moments = Run.objects.filter(within, **branch).order_by(order).values_list("queued_at", flat=True)
        bounds += moments[most : most + 1]
    return (min if to_newer else max)(bounds, default=None)


def _rows(asked: Asked, within: Q, lead: _Lead, *, to_newer: bool) -> list[Run]:
    """A page and one run more, in the direction of the walk."""
    if lead.bound is not None:
        within &= Q(**{f"queued_at__{'lte' if to_newer else 'gte'}": lead.bound})
    others = {column: values for column, values in asked.filters.items() if column != lead.column}
    order = ("queued_at", "pk") if to_newer else ("-queued_at", "-pk")
    found: list[Run] = []
    for branch in lead.branches:
        chosen = _chosen(light(Run.objects.filter(within, **branch)), others)
        found += chosen.order_by(*order)[: PAGE_SIZE + 1]
    found.sort(key=lambda run: (run.queued_at, run.pk.hex), reverse=not to_newer)
    return found[: PAGE_SIZE + 1]


def _chosen(runs: QuerySet[Run], filters: Mapping[str, Iterable[Any]]) -> QuerySet[Run]:
    """Those that pass the filters, without use of their indexes: the one that leads is to be walked."""
    for column, values in filters.items():
        nothing = Value(0) if column == "schedule" else Value("")
        runs = runs.alias(**{f"own_{column}": Coalesce(F(column), nothing)})
        runs = runs.filter(**{f"own_{column}__in": list(values)})
    return runs


def light(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Without the long texts, which a list does not show."""
    return runs.defer("traceback", "error", "args").annotate(error_begin=Left("error", ERROR_CHARACTERS))
