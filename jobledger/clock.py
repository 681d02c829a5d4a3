"""The clock by which times in the database are compared: the database's own.

Leases, claims, retries and slots are written by one process and read by another, on machines whose clocks may
differ by minutes. By its own clock, a slow worker's runs would look lost, and a fast one would start a retry
early. What only one process measures, such as a time limit, goes by a clock that is never set; what is only
displayed, by the process's own.
"""

from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

MAX_OFFSET = timedelta(seconds=5)
"""How far a process's clock may differ from the database's before anyone is told."""


def now() -> datetime:
    """The database's time. SQLite has none but this process's, on whose machine its file is."""
    if connection.vendor != "postgresql":
        return timezone.now()
    with connection.cursor() as cursor:
        # Not the beginning of the transaction, which may have waited for a lock since.
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found
