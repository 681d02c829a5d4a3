"""Finds runs in a ledger of any length, newest first, page by page.

Nothing is counted, and no page costs more for being far back: a page begins at a position (the time it was
queued and the id), not at a number. Each filter has an index in the order of the ledger. With one filter that
index gives the page. With several, the one that reaches furthest back leads, a bounded number of its runs is
searched, and the other filters choose among them; if these are not enough for a page, the result says how far
it has searched, and the next page goes on there.
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
MAX_SEARCHED = 10_000
MAX_BRANCHES = 12
ERROR_CHARACTERS = 300

_FIRST, _LAST = UUID(int=0), UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, kw_only=True)
class LedgerPosition:
    """A position in the ledger: runs are before and after it, at most one is at it."""

    queued_at: datetime
    run_id: UUID

    def __str__(self) -> str:
        return f"{self.queued_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{self.run_id.hex}"

    @classmethod
    def read(cls, text: str) -> "LedgerPosition | None":
        """The position that was formatted so; None if it is not one."""
        time, _, run_id = text.partition("-")
        try:
            queued_at = datetime.strptime(time, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
            return cls(queued_at=queued_at, run_id=UUID(run_id))
        except ValueError:
            return None

    @classmethod
    def of(cls, run: Run) -> "LedgerPosition":
        """The run's."""
        return cls(queued_at=run.queued_at, run_id=run.pk)


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """Where a page begins, and whether it goes on to newer runs from there."""

    position: LedgerPosition
    to_newer: bool = False


@dataclass(frozen=True, kw_only=True)
class RunQuery:
    """Which runs are wanted. None for a filter is all of them, an empty tuple none."""

    statuses: tuple[str, ...] | None = None
    jobs: tuple[str, ...] | None = None
    triggers: tuple[str, ...] | None = None
    schedule_ids: tuple[int, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Excluded itself."""
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
class ResultPage:
    """Some runs, newest first, and where the neighbouring pages begin."""

    runs: list[Run]
    newer: Cursor | None
    older: Cursor | None
    searched_until: datetime | None = None
    """How far was searched, if that is not as far as was query."""
    by_id: bool = False
    """Whether runs were searched by the beginning of their id."""


@dataclass(frozen=True, kw_only=True)
class _Lead:
    """The filter whose index is walked, one branch for each of its values."""

    column: str
    branches: tuple[Mapping[str, Any], ...]
    bound: datetime | None = None
    """Where the walk ends early."""


def find_page(query: RunQuery, cursor: Cursor | None = None) -> ResultPage:
    """The page that begins at the cursor, or the first one."""
    to_newer = cursor is not None and cursor.to_newer
    if any(values == () for values in query.filters.values()):
        return ResultPage(runs=[], newer=None, older=None)
    within = _wanted(query, cursor)
    lead = _lead(query, within, to_newer=to_newer)
    rows = _rows(query, within, lead, to_newer=to_newer)
    return replace(_page(rows, cursor, lead.bound), by_id=query.ids is not None)


def _page(rows: list[Run], cursor: Cursor | None, bound: datetime | None) -> ResultPage:
    to_newer = cursor is not None and cursor.to_newer
    runs, has_more = rows[:PAGE_SIZE], len(rows) > PAGE_SIZE
    end = LedgerPosition.of(runs[-1]) if has_more else _at_bound(bound, to_newer=to_newer)
    onward = Cursor(position=end, to_newer=to_newer) if end else None
    begin = LedgerPosition.of(runs[0]) if runs else cursor and cursor.position
    back = Cursor(position=begin, to_newer=not to_newer) if cursor and begin else None
    return ResultPage(
        runs=runs[::-1] if to_newer else runs,
        newer=onward if to_newer else back,
        older=back if to_newer else onward,
        searched_until=None if has_more else bound,
    )


def _at_bound(bound: datetime | None, *, to_newer: bool) -> LedgerPosition | None:
    if bound is None:
        return None
    return LedgerPosition(queued_at=bound, run_id=_LAST if to_newer else _FIRST)


def _wanted(query: RunQuery, cursor: Cursor | None) -> Q:
    """The part of the ledger that the page is in."""
    wanted = Q()
    if query.since is not None:
        wanted &= Q(queued_at__gte=query.since)
    if query.until is not None:
        wanted &= Q(queued_at__lt=query.until)
    if query.ids is not None:
        wanted &= Q(pk__in=query.ids)
    if cursor is not None:
        wanted &= _beyond(cursor)
    return wanted


def _beyond(cursor: Cursor) -> Q:
    at, direction = cursor.position, "gt" if cursor.to_newer else "lt"
    beyond = Q(**{f"queued_at__{direction}": at.queued_at}) | Q(**{f"pk__{direction}": at.run_id})
    # Its first part alone is what an index can begin at.
    return Q(**{f"queued_at__{direction}e": at.queued_at}) & beyond


def _lead(query: RunQuery, within: Q, *, to_newer: bool) -> _Lead:
    filters = query.filters
    candidates = [
        _Lead(column=column, branches=tuple({column: value} for value in values))
        for column, values in filters.items()
        if len(values) <= MAX_BRANCHES
    ]
    everything = _Lead(column="", branches=({},))
    if query.ids is not None or not filters:
        return everything
    if len(filters) == len(candidates) == 1:
        return candidates[0]
    return _furthest(candidates or [everything], within, to_newer=to_newer)


def _furthest(candidates: list[_Lead], within: Q, *, to_newer: bool) -> _Lead:
    """The one along which a bounded walk gets furthest: to the end, if any does."""
    measured: list[tuple[datetime, _Lead]] = []
    for lead in candidates:
        bound = _bound(lead, within, to_newer=to_newer)
        if bound is None:
            return lead
        measured.append((bound, _Lead(column=lead.column, branches=lead.branches, bound=bound)))
    choose = max if to_newer else min
    return choose(measured, key=lambda each: each[0])[1]


def _bound(lead: _Lead, within: Q, *, to_newer: bool) -> datetime | None:
    """The time within which a walk meets so many runs; None if there are not so many."""
    order, most = "queued_at" if to_newer else "-queued_at", MAX_SEARCHED // len(lead.branches)
    bounds: list[datetime] = []
    for branch in lead.branches:
        times = Run.objects.filter(within, **branch).order_by(order).values_list("queued_at", flat=True)
        bounds += times[most : most + 1]
    return (min if to_newer else max)(bounds, default=None)


def _rows(query: RunQuery, within: Q, lead: _Lead, *, to_newer: bool) -> list[Run]:
    """A page and one run more, in the direction of the walk."""
    if lead.bound is not None:
        within &= Q(**{f"queued_at__{'lte' if to_newer else 'gte'}": lead.bound})
    others = {column: values for column, values in query.filters.items() if column != lead.column}
    order = ("queued_at", "pk") if to_newer else ("-queued_at", "-pk")
    found: list[Run] = []
    for branch in lead.branches:
        chosen = _chosen(without_long_texts(Run.objects.filter(within, **branch)), others)
        found += chosen.order_by(*order)[: PAGE_SIZE + 1]
    found.sort(key=lambda run: (run.queued_at, run.pk.hex), reverse=not to_newer)
    return found[: PAGE_SIZE + 1]


def _chosen(runs: QuerySet[Run], filters: Mapping[str, Iterable[Any]]) -> QuerySet[Run]:
    """Those that pass the filters, without using their indexes: the leading one is to be walked."""
    for column, values in filters.items():
        nothing = Value(0) if column == "schedule" else Value("")
        runs = runs.alias(**{f"own_{column}": Coalesce(F(column), nothing)})
        runs = runs.filter(**{f"own_{column}__in": list(values)})
    return runs


def without_long_texts(runs: QuerySet[Run]) -> QuerySet[Run]:
    """As a list needs them, with the error's beginning alone."""
    return runs.defer("traceback", "error", "args").annotate(error_begin=Left("error", ERROR_CHARACTERS))
