"""What beat has to do next, read by a single statement: beat looks every second, and nearly always waits."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import DateTimeField, QuerySet, Value

from jobledger.jobs import registry
from jobledger.models import NextSlot, Run, Status
from jobledger.runs.lease import rescue
from jobledger.runs.publishing import publisher

_DATETIME = Value(None, output_field=DateTimeField())


@dataclass(frozen=True, kw_only=True)
class Agenda:
    """The earliest time of each kind; None if there is nothing of the kind."""

    next_due_at: datetime | None
    """When the next schedule is due."""
    next_publish_after: datetime | None
    """When the next queued run is to be published, or published again."""
    next_deadline: datetime | None
    """When the next queued run expires."""
    next_silence: datetime | None
    """When the next running run is suspected to be lost, unless it sends a heartbeat before."""

    def is_idle(self, now: datetime) -> bool:
        """Whether nothing is to be done yet."""
        return all(at is None or at > now for at in astuple(self))


def read() -> Agenda:
    """The agenda as it is now in the database."""
    connection = connections[router.db_for_read(Run)]
    statement, parameters = _statement(connection, tuple(registry.all_jobs()))
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        due_at, publish_after, deadline, heartbeat = _times(connection, cursor.fetchone())
    return Agenda(
        next_due_at=due_at,
        next_publish_after=publish_after,
        next_deadline=deadline,
        next_silence=heartbeat and heartbeat + rescue.silence() + timedelta.resolution,
    )


@lru_cache(maxsize=2)
def _statement(connection: BaseDatabaseWrapper, _jobs: tuple[str, ...]) -> tuple[str, list[Any]]:
    """The statement and its parameters. It depends on the jobs that this process knows.

    Django cannot select without a table, and takes longer to write such a statement than the database to
    execute it.
    """
    compiled = [each.query.get_compiler(connection=connection).as_sql() for each in _querysets()]
    columns = ", ".join(f"({statement})" for statement, _ in compiled)
    return f"SELECT {columns}", [value for _, parameters in compiled for value in parameters]


def _querysets() -> Iterable[QuerySet[Any, Any]]:
    queued, running = (Run.objects.filter(status=status) for status in (Status.QUEUED, Status.RUNNING))
    yield _earliest(NextSlot.objects.all(), "due_at")
    yield _earliest(publisher.publishable(), "publish_after")
    yield _earliest(queued, "start_before")
    yield _earliest(running, "heartbeat_at")


def _earliest(rows: QuerySet[Any], field: str) -> QuerySet[Any, Any]:
    return rows.filter(**{f"{field}__isnull": False}).order_by(field).values_list(field)[:1]


def _times(connection: BaseDatabaseWrapper, values: Iterable[Any]) -> Iterable[datetime | None]:
    """The values as Django would return them."""
    for value in values:
        converted = value
        for convert in connection.ops.get_db_converters(_DATETIME):
            converted = convert(converted, _DATETIME, connection)
        yield converted
