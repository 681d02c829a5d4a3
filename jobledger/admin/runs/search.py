"""Finds runs in a ledger of any length, newest first, in pages.

Nothing is counted, and distant pages are as fast as the first one: pages use keyset pagination (by queued
time and id), not offsets. Each filter has an index in ledger order. A single filter reads its page from that
index. Of several filters, the one whose index reaches furthest back leads: a bounded number of its runs are
scanned, and the other filters are applied to these. If they do not fill a page, the result has the time at
which the scan stopped, and the next page continues from there.

What most runs have in common is in no index of PostgreSQL. A filter for that alone is applied to the newest
runs of all, first to a few of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connections, router
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Left

from jobledger.models import Run, Status, Trigger

PAGE_SIZE = 50
FEW_SEARCHED, MAX_SEARCHED = 500, 10_000
MAX_BRANCHES = 12
ERROR_CHARACTERS = 300

_COMMON = {"status": Status.SUCCEEDED, "trigger": Trigger.SCHEDULE}
"""Not in the index of PostgreSQL: see ``IndexOfFewer``."""
_FIRST, _LAST = UUID(int=0), UUID(int=(1 << 128) - 1)


@dataclass(frozen=True, kw_only=True)
class LedgerPosition:
    """A position in the ledger's order. At most one run is at this position."""

    queued_at: datetime
    run_id: UUID

    def __str__(self) -> str:
        return f"{self.queued_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}-{self.run_id.hex}"

    @classmethod
    def read(cls, text: str) -> "LedgerPosition | None":
        """Parses a formatted position; returns None if it is invalid."""
        time, _, run_id = text.partition("-")
        try:
            queued_at = datetime.strptime(time, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
            return cls(queued_at=queued_at, run_id=UUID(run_id))
        except ValueError:
            return None

    @classmethod
    def of(cls, run: Run) -> "LedgerPosition":
        return cls(queued_at=run.queued_at, run_id=run.pk)


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """Where a page starts, and its direction."""

    position: LedgerPosition
    to_newer: bool = False


@dataclass(frozen=True, kw_only=True)
class RunQuery:
    """Which runs to find. A filter that is None matches all runs; an empty tuple matches none."""

    statuses: tuple[str, ...] | None = None
    jobs: tuple[str, ...] | None = None
    triggers: tuple[str, ...] | None = None
    schedule_ids: tuple[int, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Exclusive."""
    ids: tuple[UUID, ...] | None = None
    page_size: int = field(default_factory=lambda: PAGE_SIZE)

    @property
    def filters(self) -> dict[str, tuple[Any, ...]]:
        """The filters that have their own index, by column."""
        by_column = {
            "schedule": self.schedule_ids,
            "job": self.jobs,
            "status": self.statuses,
            "trigger": self.triggers,
        }
        return {column: values for column, values in by_column.items() if values is not None}


@dataclass(frozen=True, kw_only=True)
class ResultPage:
    """A page of runs, newest first, with cursors for the adjacent pages."""

    runs: list[Run]
    newer: Cursor | None
    older: Cursor | None
    searched_until: datetime | None = None
    """Where the scan stopped, if it stopped before the end of the query's range."""
    by_id: bool = False
    """Whether the search was for a prefix of the run ID."""


@dataclass(frozen=True, kw_only=True)
class _Lead:
    """The filter whose index is scanned, with one branch for each of its values."""

    column: str
    branches: tuple[Mapping[str, Any], ...]
    bound: datetime | None = None
    """Where the scan stops early."""


def find_page(query: RunQuery, cursor: Cursor | None = None) -> ResultPage:
    """The page that starts at the cursor, or the first page."""
    to_newer = cursor is not None and cursor.to_newer
    if any(values == () for values in query.filters.values()):
        return ResultPage(runs=[], newer=None, older=None)
    within = _range(query, cursor)
    for limit in _limits(query):
        lead = _lead(query, within, limit, to_newer=to_newer)
        rows = _rows(query, within, lead, to_newer=to_newer)
        if lead.bound is None or len(rows) > query.page_size:
            break
    return replace(_page(rows, cursor, lead.bound, query.page_size), by_id=query.ids is not None)


def _page(rows: list[Run], cursor: Cursor | None, bound: datetime | None, page_size: int) -> ResultPage:
    to_newer = cursor is not None and cursor.to_newer
    runs, has_more = rows[:page_size], len(rows) > page_size
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


def _range(query: RunQuery, cursor: Cursor | None) -> Q:
    """The part of the ledger that the page is in."""
    conditions = Q()
    if query.since is not None:
        conditions &= Q(queued_at__gte=query.since)
    if query.until is not None:
        conditions &= Q(queued_at__lt=query.until)
    if query.ids is not None:
        conditions &= Q(pk__in=query.ids)
    if cursor is not None:
        conditions &= _beyond(cursor)
    return conditions


def _beyond(cursor: Cursor) -> Q:
    at, direction = cursor.position, "gt" if cursor.to_newer else "lt"
    beyond = Q(**{f"queued_at__{direction}": at.queued_at}) | Q(**{f"pk__{direction}": at.run_id})
    # Redundant, but this is the condition that lets the database seek in the index.
    return Q(**{f"queued_at__{direction}e": at.queued_at}) & beyond


def _limits(query: RunQuery) -> Sequence[int]:
    """How many runs are scanned; if these do not fill a page, so many."""
    is_scan_of_all = query.filters and not _candidates(query)
    return (min(FEW_SEARCHED, MAX_SEARCHED), MAX_SEARCHED) if is_scan_of_all else (MAX_SEARCHED,)


def _candidates(query: RunQuery) -> Sequence[_Lead]:
    connection = connections[router.db_for_read(Run)]
    common = _COMMON if connection.vendor == "postgresql" else {}
    return [
        _Lead(column=column, branches=tuple({column: value} for value in values))
        for column, values in query.filters.items()
        if len(values) <= MAX_BRANCHES and common.get(column) not in values
    ]


def _lead(query: RunQuery, within: Q, limit: int, *, to_newer: bool) -> _Lead:
    candidates, everything = _candidates(query), _Lead(column="", branches=({},))
    if query.ids is not None or not query.filters:
        return everything
    if len(query.filters) == len(candidates) == 1:
        return candidates[0]
    return _furthest_reaching(candidates or [everything], within, limit, to_newer=to_newer)


def _furthest_reaching(candidates: Sequence[_Lead], within: Q, limit: int, *, to_newer: bool) -> _Lead:
    """The candidate whose bounded scan gets furthest, ideally to the end."""
    measured: list[tuple[datetime, _Lead]] = []
    for lead in candidates:
        bound = _bound(lead, within, limit // len(lead.branches), to_newer=to_newer)
        if bound is None:
            return lead
        measured.append((bound, _Lead(column=lead.column, branches=lead.branches, bound=bound)))
    choose = max if to_newer else min
    return choose(measured, key=lambda each: each[0])[1]


def _bound(lead: _Lead, within: Q, limit: int, *, to_newer: bool) -> datetime | None:
    """The time at which a scan reaches its limit; None if it reaches the end first."""
    order = "queued_at" if to_newer else "-queued_at"
    bounds: list[datetime] = []
    for branch in lead.branches:
        times = Run.objects.filter(within, **branch).order_by(order).values_list("queued_at", flat=True)
        bounds += times[limit : limit + 1]
    return (min if to_newer else max)(bounds, default=None)


def _rows(query: RunQuery, within: Q, lead: _Lead, *, to_newer: bool) -> list[Run]:
    """A page and one more run, in the direction of the scan."""
    if lead.bound is not None:
        within &= Q(**{f"queued_at__{'lte' if to_newer else 'gte'}": lead.bound})
    others = {column: values for column, values in query.filters.items() if column != lead.column}
    order = ("queued_at", "pk") if to_newer else ("-queued_at", "-pk")
    found: list[Run] = []
    for branch in lead.branches:
        matching = _apply_filters(without_long_texts(Run.objects.filter(within, **branch)), others)
        found += matching.order_by(*order)[: query.page_size + 1]
    found.sort(key=lambda run: (run.queued_at, run.pk.hex), reverse=not to_newer)
    return found[: query.page_size + 1]


def _apply_filters(runs: QuerySet[Run], filters: Mapping[str, Iterable[Any]]) -> QuerySet[Run]:
    """Apply the filters such that the database does not use their indexes instead of the leading one."""
    for column, values in filters.items():
        nothing = Value(0) if column == "schedule" else Value("")
        runs = runs.alias(**{f"own_{column}": Coalesce(F(column), nothing)})
        runs = runs.filter(**{f"own_{column}__in": list(values)})
    return runs


def without_long_texts(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Defer the long text fields; ``error_begin`` has the beginning of the error."""
    return runs.defer("traceback", "error", "args").annotate(error_begin=Left("error", ERROR_CHARACTERS))
