"""Cancels what a PostgreSQL server is executing for a job that is being ended.

The server would notice that nobody waits for a result only once it has it. Until then, which may take hours,
it would hold the statement's locks, and change what the next run works with.

psycopg 3 itself does the same at Ctrl-C and at a SystemExit. With another driver, nothing is cancelled.
"""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

CANCEL_SECONDS = 2.0
"""How long the server may take to accept the request."""
_ACTIVE = 1
"""What libpq calls the transaction status of a connection that waits for a result."""


def cancel(databases: Iterable[BaseDatabaseWrapper]) -> None:
    """Cancel the statement that each of them waits for, from any thread or signal handler; never raises."""
    for each in databases:
        # Whatever the server says, the job ends.
        with suppress(Exception):
            _cancel(each.connection)


def _cancel(driver: Any) -> None:
    connection = getattr(driver, "pgconn", None)
    if connection is None or connection.transaction_status != _ACTIVE:
        return
    # Raises an exception with a libpq before 17, which would block all threads until it is connected.
    connection.cancel_conn()
    driver.cancel_safe(timeout=CANCEL_SECONDS)
