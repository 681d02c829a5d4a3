"""The database's clock, which all times in the database are compared with.

Leases, claims, retries and slots are written by one process and read by another, on machines whose clocks
may differ by minutes. If each used its own clock, the runs of a worker whose clock is slow would appear to
be lost, and one whose clock is fast would start retries early. Durations measured by a single process, such
as time limits, use the monotonic clock; times that are only displayed use the process's own clock.
"""

from datetime import datetime, timedelta

from django.db import connection
from django.db.models import DateTimeField, Value
from django.db.models.expressions import Combinable, RawSQL
from django.utils import timezone

MAX_OFFSET = timedelta(seconds=5)
"""How far a process's clock may differ from the database's before anyone is told."""
_TIME = DateTimeField()


def now() -> datetime:
    """The database's time. SQLite has no clock of its own, but its file is on this machine anyway."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        # Not the start of the transaction, which may have been waiting for a lock since then.
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def as_sql() -> str:
    """The same time in SQL, for statements that the ORM does not write; NULL if it is this process's own."""
    return "clock_timestamp()" if connection.vendor == "postgresql" else "NULL"


def in_statement(offset: timedelta = timedelta(0)) -> Combinable:
    """The same time, plus the offset, as an expression: this saves the statement that reads the time."""
    if connection.vendor != "postgresql":
        return Value(timezone.now() + offset, output_field=_TIME)
    # Not a `Func` plus a `Value`, which take Django five times as long.
    return RawSQL("clock_timestamp() + %s", [offset], output_field=_TIME)
