"""Counts all runs that have ever ended, each exactly once, without reading the ledger as a whole.

The ledger forgets runs, but counters must never decrease. So the runs are added to totals in the order in
which they were queued, and the position is remembered. A run that has not ended by then is put aside, and
added when it has. The latest runs, of the last two minutes, are read each time and not added yet: a
transaction that began a while ago may still insert a run before them.

Whoever counts holds a lock on the position: any number of processes may ask at the same time. Pruning counts
first, and does not delete what has ended within a day. So nothing is deleted that was not counted, and the
totals are right however rarely, or often, somebody asks.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from jobledger.jobs import registry
from jobledger.metrics.histogram import DELAY_BOUNDS, DURATION_BOUNDS, Histogram
from jobledger.metrics.names import Names
from jobledger.models import LIVE, OPEN, CountedUntil, Run, RunTotal, Status, Trigger, UncountedRun
from jobledger.models.states import BY_MESSAGE
from jobledger.paging import is_after
from jobledger.runs.ordinary_tasks import known_tasks

SETTLED_AFTER = timedelta(minutes=2)
"""No run is inserted with a ``queued_at`` that is older, except by those who say so.

See ``note_backdated`` and ``note_exchanged``.
"""
PAGE = 5000
LOCK_TIMEOUT_SECONDS = 5
SLICE = 900
"""Before version 3.32, SQLite takes no more than 999 values. PostgreSQL takes a page at once."""
FROM_QUEUE = tuple(trigger for trigger in BY_MESSAGE if trigger is not Trigger.BACKFILL)
"""The triggers whose runs may start late. Those of a backfill wait for others on purpose."""
_FIELDS = ("pk", *("job", "trigger", "status", "attempt"))
_TIMES = ("queued_at", "start_after", "scheduled_for", "moved_to", "started_at", "finished_at", "look_at")


class Exchanged(NamedTuple):
    """A live run that gets a later ``queued_at``, and a run that is inserted with its former one."""

    live_id: UUID
    inserted_id: UUID
    queued_at: datetime


class NotCountedError(Exception):
    """There are too many new runs to count them in the given time. The next call continues."""


class Key(NamedTuple):
    job: str
    trigger: str
    status: str


class _Ended(NamedTuple):
    """What is counted of a run; in the order of the columns that are read."""

    pk: UUID
    job: str
    trigger: str
    status: str
    attempt: int
    queued_at: datetime
    start_after: datetime | None
    scheduled_for: datetime | None
    moved_to: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    look_at: datetime | None

    @property
    def due_at(self) -> datetime:
        """When its first attempt should have started."""
        if self.trigger == Trigger.SCHEDULE and (slot := self.moved_to or self.scheduled_for) is not None:
            return slot
        return max(self.queued_at, self.start_after or self.queued_at)

    @property
    def is_open(self) -> bool:
        """As ``OPEN`` says."""
        return self.status in LIVE or (self.status == Status.SENT and self.look_at is not None)


@dataclass(kw_only=True)
class Total:
    """The runs of a job with one trigger and one status."""

    count: int = 0
    is_settled: bool = True
    """False as long as all of them are among the latest runs."""
    last_ended_at: datetime | None = None
    duration: Histogram = field(default_factory=lambda: Histogram(DURATION_BOUNDS))
    start_delay: Histogram = field(default_factory=lambda: Histogram(DELAY_BOUNDS))

    def add(self, run: _Ended) -> None:
        self.count += 1
        self._note_end(run.finished_at or run.queued_at)
        if run.started_at is None:
            return
        if run.finished_at is not None:
            self.duration.add((run.finished_at - run.started_at).total_seconds())
        # Of a later attempt, the first start is not known.
        if run.trigger in FROM_QUEUE and run.attempt == 1:
            self.start_delay.add((run.started_at - run.due_at).total_seconds())

    def merge(self, other: "Total") -> None:
        self.count += other.count
        self.duration.merge(other.duration)
        self.start_delay.merge(other.start_delay)
        if other.last_ended_at is not None:
            self._note_end(other.last_ended_at)

    def _note_end(self, ended_at: datetime) -> None:
        self.last_ended_at = max(self.last_ended_at or ended_at, ended_at)


Totals = dict[Key, Total]


def read(now: datetime, *, within_seconds: float) -> Totals:
    """The totals of all runs that have ended by now. Raises NotCountedError."""
    give_up_at = time.monotonic() + within_seconds
    ended_aside = _EndedAside()
    while True:
        with transaction.atomic():
            position = _locked(now)
            totals, is_complete = _advance(position, now, ended_aside)
            if is_complete:
                _add_latest(totals, position)
                return totals
        if time.monotonic() >= give_up_at:
            raise NotCountedError(f"Runs are counted up to {position.queued_at:%Y-%m-%d %H:%M} UTC")


def count_all(now: datetime) -> None:
    """Add all runs to the totals but the latest, however long it takes. Short transactions."""
    ended_aside, is_complete = _EndedAside(), False
    while not is_complete:
        began = time.monotonic()
        with transaction.atomic():
            _, is_complete = _advance(_locked(now), now, ended_aside)
        if not is_complete:
            # On SQLite, all other writers wait during a transaction.
            time.sleep(time.monotonic() - began)


def note_backdated(run_id: UUID, queued_at: datetime, previous: datetime | None, now: datetime) -> None:
    """To be called in the transaction that inserts a run with an earlier ``queued_at``, or that changes it.

    ``previous`` is what it was before, if it was not inserted. Without this, a run would not be counted if
    those around it have been.
    """
    if queued_at > now - SETTLED_AFTER / 2:
        return
    position = _locked(now)
    at = position.queued_at, position.run_id
    # Runs that were queued at the same time are counted by their ids.
    was_passed = previous is not None and (previous, run_id) <= at
    if (queued_at, run_id) <= at and not was_passed:
        UncountedRun.objects.bulk_create([UncountedRun(run_id=run_id)], ignore_conflicts=True)


def note_exchanged(exchanged: Sequence[Exchanged], now: datetime) -> bool:
    """To be called in the transaction that exchanges the runs' times.

    Never waits: returns False if runs are just being counted, so that the times must stay as they are.
    """
    settled = [each for each in exchanged if each.queued_at <= now - SETTLED_AFTER / 2]
    if not settled:
        return True
    position = CountedUntil.objects.filter(pk=1).select_for_update(skip_locked=True).first()
    if position is None:
        # Nobody has counted anything so far, or somebody holds it.
        return not CountedUntil.objects.filter(pk=1).exists()
    at = position.queued_at, position.run_id
    counted_later = [each.live_id for each in settled if (each.queued_at, each.live_id) <= at]
    put_aside = [each.inserted_id for each in settled if (each.queued_at, each.inserted_id) <= at]
    for some in _slices(counted_later):
        UncountedRun.objects.filter(run_id__in=some).delete()
    UncountedRun.objects.bulk_create([UncountedRun(run_id=pk) for pk in put_aside], ignore_conflicts=True)
    return True


def _locked(now: datetime) -> CountedUntil:
    """The position, which nobody else reads or changes until the end of this transaction.

    Raises OperationalError if another transaction holds it for too long.
    """
    if connection.vendor == "postgresql":
        # A process that hangs here must not have all the others wait for it.
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    # An update, since it also makes SQLite begin to write.
    while not CountedUntil.objects.filter(pk=1).update(counted_at=now):
        first = CountedUntil(
            pk=1, queued_at=datetime.min.replace(tzinfo=UTC), run_id=UUID(int=0), counted_at=now
        )
        CountedUntil.objects.bulk_create([first], ignore_conflicts=True)
    return CountedUntil.objects.get(pk=1)


class _EndedAside:
    """The runs that were put aside and have ended since, or are gone: found once, and taken page by page.

    Tens of thousands may end at once, for example when they are cancelled. All of them would be read again
    for each page otherwise.
    """

    def __init__(self) -> None:
        self._left: list[UUID] | None = None

    @property
    def is_empty(self) -> bool:
        return not self._left

    def take(self) -> Iterator[_Ended]:
        """A page of them, which are no longer put aside. To be called while the position is locked."""
        if self._left is None:
            self._left = _ended_aside()
        page, self._left = self._left[:PAGE], self._left[PAGE:]
        for some in _slices(page):
            # Since they were found, another process may have counted them.
            still = list(UncountedRun.objects.filter(run_id__in=some).values_list("run_id", flat=True))
            yield from _ended(Run.objects.filter(pk__in=still).exclude(OPEN))
            UncountedRun.objects.filter(run_id__in=still).delete()


def _advance(position: CountedUntil, now: datetime, ended_aside: _EndedAside) -> tuple[Totals, bool]:
    """Count a page of runs, and one of those put aside that have ended; returns whether there are no more."""
    page = _page(position, now)
    live = [run for run in page if run.is_open]
    added: Totals = {}
    _add([run for run in page if not run.is_open], added)
    _add(ended_aside.take(), added)
    UncountedRun.objects.bulk_create([UncountedRun(run_id=run.pk) for run in live], ignore_conflicts=True)
    if page:
        position.queued_at, position.run_id = page[-1].queued_at, page[-1].pk
        position.save(update_fields=["queued_at", "run_id"])
    totals = _stored()
    added = _with_names(added, totals)
    _merge(added, totals)
    _store({key: totals[key] for key in added})
    return totals, len(page) < PAGE and ended_aside.is_empty


def _page(position: CountedUntil, now: datetime) -> list[_Ended]:
    settled = Run.objects.filter(_after(position), queued_at__lte=now - SETTLED_AFTER)
    found = settled.order_by("queued_at", "pk").values_list(*_FIELDS, *_TIMES)[:PAGE]
    return [_Ended(*values) for values in found]


def _after(position: CountedUntil) -> Q:
    return is_after("queued_at", position.queued_at, position.run_id)


def _ended_aside() -> list[UUID]:
    """The ids of the runs that were put aside and have ended since, or are gone."""
    if not UncountedRun.objects.exists():
        return []
    # Not joined: PostgreSQL might read the whole ledger for that. And not sent here: with a long queue, both
    # are many, and nearly the same.
    still_open = Run.objects.filter(OPEN).order_by().values_list("pk", flat=True)
    return list(UncountedRun.objects.order_by().values_list("run_id", flat=True).difference(still_open))


def _add_latest(totals: Totals, position: CountedUntil) -> None:
    """Add the runs after the position that have ended, but only here: they are counted later."""
    latest: Totals = {}
    _add(_ended(Run.objects.filter(_after(position)).exclude(OPEN)), latest)
    latest = _with_names(latest, totals)
    totals.update({key: Total(is_settled=False) for key in latest.keys() - totals.keys()})
    _merge(latest, totals)


def _ended(rows: Any) -> Iterator[_Ended]:
    for values in rows.order_by().values_list(*_FIELDS, *_TIMES).iterator(chunk_size=PAGE):
        yield _Ended(*values)


def _add(runs: Iterable[_Ended], totals: Totals) -> None:
    for run in runs:
        key = Key(run.job, run.trigger, run.status)
        if (total := totals.get(key)) is None:
            total = totals[key] = Total()
        total.add(run)


def names(totals: Totals) -> Names:
    """The names of jobs in labels: those of the code, those that were counted, and a few more."""
    return Names(registry.all_jobs().keys() | known_tasks().keys(), taken=(key.job for key in totals))


def _with_names(added: Totals, totals: Totals) -> Totals:
    """What is added, by the names under which it is counted."""
    found, allowed = Totals(), names(totals)
    for key, total in sorted(added.items(), key=itemgetter(0)):
        _merge({key._replace(job=allowed.of(key.job)): total}, found)
    return found


def _merge(added: Mapping[Key, Total], totals: Totals) -> None:
    for key, total in added.items():
        totals.setdefault(key, Total()).merge(total)


def _stored() -> Totals:
    return {
        Key(row.job, row.trigger, row.status): Total(
            count=row.count,
            last_ended_at=row.last_ended_at,
            duration=Histogram(DURATION_BOUNDS, row.duration),
            start_delay=Histogram(DELAY_BOUNDS, row.start_delay),
        )
        for row in RunTotal.objects.all()
    }


def _store(totals: Mapping[Key, Total]) -> None:
    rows = [
        RunTotal(
            **key._asdict(),
            count=total.count,
            last_ended_at=total.last_ended_at,
            duration=total.duration.as_json(),
            start_delay=total.start_delay.as_json(),
        )
        for key, total in totals.items()
    ]
    changed = ["count", "last_ended_at", "duration", "start_delay"]
    keys = list(Key._fields)
    RunTotal.objects.bulk_create(rows, update_conflicts=True, unique_fields=keys, update_fields=changed)


def _slices(pks: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    size = SLICE if connection.vendor == "sqlite" else PAGE
    for begin in range(0, len(pks), size):
        yield pks[begin : begin + size]
