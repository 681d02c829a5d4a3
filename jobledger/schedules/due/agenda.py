"""What beat has to do next, read by a single statement: beat looks every second, and nearly always waits.

The statement also reads the database's clock. From then on, beat knows the time without asking again, unless
its own clock has been adjusted, or the machine was suspended: so it can do at once what it has waited for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import lru_cache
from time import monotonic
from typing import Any, Self

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, QuerySet, Value
from django.utils import timezone

from jobledger import clock
from jobledger.alerts.sending import delivery, pings
from jobledger.conf import settings
from jobledger.jobs import registry
from jobledger.models import Backfill, NextSlot, Ping, Run, SentryReport, Status
from jobledger.runs import lasting_connections
from jobledger.runs.lease.watch import silence
from jobledger.runs.publishing import publisher

MAX_ADJUSTMENT = timedelta(milliseconds=50)
"""By how much two clocks of this process may differ since the agenda was read."""

_DATETIME = Value(None, output_field=DateTimeField())


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """The times of this process's clocks at the same instant."""

    wall: datetime
    monotonic: float

    @classmethod
    def read(cls) -> Self:
        return cls(wall=timezone.now(), monotonic=monotonic())

    def elapsed(self) -> timedelta | None:
        """The time since then; None if the clocks disagree about it."""
        now = Clocks.read()
        elapsed, other = now.wall - self.wall, timedelta(seconds=now.monotonic - self.monotonic)
        return elapsed if abs(elapsed - other) <= MAX_ADJUSTMENT else None


@dataclass(frozen=True, kw_only=True)
class Agenda:
    """The earliest time of each kind; None if there is nothing of the kind."""

    read_at: datetime
    """The database's time when it was read."""
    clocks: Clocks = field(default_factory=Clocks.read)
    """Those of this process at that time."""
    written: object = None
    """What differs once anybody has written to the database since then; None if that is unknown."""
    is_complete: bool = True
    """Whether it says when a second schedule is due."""
    next_due_at: datetime | None
    """When the next schedule is due."""
    following_due_at: datetime | None
    """When the one after that is due."""
    next_publish_after: datetime | None
    """When the next queued run is to be published, or published again."""
    next_deadline: datetime | None
    """When the next queued run expires."""
    next_silence: datetime | None
    """When the next running run is suspected to be lost, unless it sends a heartbeat before."""
    next_backfill: datetime | None = None
    """When the next backfill is to be looked at."""
    next_chain: datetime | None = None
    """When beat is to look next whether predecessors of a schedule have ended."""
    next_message: datetime | None = None
    """When the next alert or ping is to be sent. That is not beat's own work, but its background's."""
    next_result: datetime | None = None
    """When the end of a task is to be looked for in Celery's result backend; also its background's work."""

    def is_idle(self, now: datetime) -> bool:
        """Whether nothing is to be done yet."""
        return not any(is_due(at, now) for at in self._own())

    def times(self) -> list[datetime]:
        """When beat has to look again."""
        return [at for at in (*self._own(), self.next_message, self.next_result) if at is not None]

    def is_one_schedule(self, now: datetime) -> bool:
        """Whether a single schedule is due, and nothing else is to be done."""
        first, *others = self._own()
        return is_due(first, now) and not any(is_due(at, now) for at in (self.following_due_at, *others))

    def _own(self) -> tuple[datetime | None, ...]:
        """What is beat's own work, schedules first."""
        runs = (self.next_publish_after, self.next_deadline, self.next_silence)
        return (self.next_due_at, *runs, self.next_backfill, self.next_chain)

    def without_first(self, *, due_again_at: datetime | None) -> Self:
        """What is left once the schedule that is due first was recorded."""
        times = [at for at in (self.following_due_at, due_again_at) if at]
        return replace(
            self, next_due_at=min(times, default=None), following_due_at=None, is_complete=False, written=None
        )

    def is_current(self) -> bool:
        """Whether it is known that nothing was written since it was read."""
        return self.written is not None and self.written == _written(_connection())

    def now(self) -> datetime | None:
        """The database's time now; None if it has to be asked."""
        elapsed = self.clocks.elapsed()
        return None if elapsed is None else self.read_at + elapsed


def is_due(at: datetime | None, now: datetime) -> bool:
    """Whether this time of an agenda has come."""
    return at is not None and at <= now


def read() -> Agenda:
    """The agenda as it is now in the database."""
    connection = _connection()
    # Before, so that what is written meanwhile is noticed later.
    written = _written(connection)
    reports = bool(settings.SENTRY_DSN)
    statement, parameters = _statement(
        connection, clock.as_sql(), tuple(registry.all_jobs()), reports=reports
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        times = _times(connection, cursor.fetchone())
        read_at, due_at, following, publish_after, deadline, heartbeat, *times = times
        backfill, chain, result, *messages = times
    return Agenda(
        read_at=read_at or clock.now(),
        written=written,
        next_due_at=due_at,
        following_due_at=following,
        next_publish_after=publish_after,
        next_deadline=deadline,
        next_silence=heartbeat and heartbeat + silence() + timedelta.resolution,
        next_backfill=backfill,
        next_chain=chain,
        next_result=result,
        next_message=min(filter(None, messages), default=None),
    )


def _connection() -> BaseDatabaseWrapper:
    return connections[router.db_for_read(Run)]


def _written(connection: BaseDatabaseWrapper) -> object:
    by_others = lasting_connections.written(connection)
    return by_others and (by_others, connection.connection.total_changes)


@lru_cache(maxsize=2)
def _statement(
    connection: BaseDatabaseWrapper, now: str, _jobs: tuple[str, ...], *, reports: bool
) -> tuple[str, list[Any]]:
    """The statement and its parameters. It depends on the jobs that this process knows, and on the settings.

    Django cannot select without a table, and takes longer to write such a statement than the database to
    execute it.
    """
    compiled = [
        each.query.get_compiler(connection=connection).as_sql() for each in _querysets(reports=reports)
    ]
    columns = ", ".join([now, *(f"({statement})" for statement, _ in compiled)])
    return f"SELECT {columns}", [value for _, parameters in compiled for value in parameters]


def _querysets(*, reports: bool) -> Iterable[QuerySet[Any, Any]]:
    running = Run.objects.filter(status=Status.RUNNING)
    yield _earliest(NextSlot.objects.all(), "due_at")
    yield _earliest(NextSlot.objects.all(), "due_at", skipped=1)
    yield _earliest(publisher.publishable(), "publish_after")
    yield _earliest(Run.objects.to_expire(), "start_before")
    yield _earliest(running, "heartbeat_at")
    yield _earliest(Backfill.objects.all(), "look_at")
    yield _earliest(NextSlot.objects.all(), "look_at")
    yield _earliest(Run.objects.all(), "look_at")
    yield _earliest(delivery.waiting(), "due_at")
    yield _earliest(Ping.objects.all(), "due_at")
    yield _earliest(pings.unnoted_starts(), "started_at")
    if reports:
        yield _earliest(SentryReport.objects.all(), "due_at")


def _earliest(rows: QuerySet[Any], field: str, *, skipped: int = 0) -> QuerySet[Any, Any]:
    times = rows.filter(**{f"{field}__isnull": False}).order_by(field).values_list(field)
    return times[skipped : skipped + 1]


def _times(connection: BaseDatabaseWrapper, values: Iterable[Any]) -> Iterable[datetime | None]:
    """The values as Django would return them."""
    for value in values:
        converted = value
        for convert in connection.ops.get_db_converters(_DATETIME):
            converted = convert(converted, _DATETIME, connection)
        yield converted
