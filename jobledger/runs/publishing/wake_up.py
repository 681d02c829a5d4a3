"""Wakes beats that sleep, over PostgreSQL's LISTEN and NOTIFY.

Whoever puts something on beat's agenda that may be due within seconds calls ``beats``. With any other
database, and behind a pooler, beat does not listen, and looks once a second instead. No look depends on being
woken: a beat that listens looks every few seconds all the same.
"""

import select
from collections.abc import Sequence
from time import monotonic

from django.db import Error, connections, router
from django.db.backends.base.base import BaseDatabaseWrapper

from jobledger.models import Run
from jobledger.runs import ledger_connection

CHANNEL = "jobledger_beat"
MAX_AGE_SECONDS = 600.0
"""A connection that is rarely used may be lost without anybody noticing."""
LAST_PART = 0.01
"""Of an exact wait. Linux may end a wait for a file too late by a thousandth of it, to save energy."""


def beats() -> None:
    """Have all beats look at their agenda as soon as the current transaction is committed."""
    connection = connections[router.db_for_write(Run)]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")


class Listener:
    """Listens over a connection of its own, if the database can wake this process."""

    def __init__(self) -> None:
        self._connection: BaseDatabaseWrapper | None = None
        self._began_at = 0.0
        self._is_possible = True

    @property
    def is_listening(self) -> bool:
        return self._connection is not None

    def begin(self) -> None:
        """Listen from now on, if that is possible and was not begun before. Raises database errors."""
        if self.is_listening and monotonic() - self._began_at > MAX_AGE_SECONDS:
            self.end()
        if self.is_listening or not self._is_possible:
            return
        usual = connections[router.db_for_write(Run)]
        own = ledger_connection.another(usual) if usual.vendor == "postgresql" else None
        if own is None or not _can_listen(own):
            self._is_possible = False
            return
        with own.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._connection, self._began_at = own, monotonic()

    def wait(self, seconds: float, *, exactly: bool = False) -> None:
        """Wait until this process is woken, but no longer than this; a few milliseconds matter if exactly."""
        if self._connection is None:
            return
        driver, poll = self._connection.connection, select.poll()
        begun_at = monotonic()
        ends = (begun_at + each for each in parts(seconds, exactly=exactly))
        try:
            with self._connection.wrap_database_errors:
                poll.register(driver.fileno(), select.POLLIN)
                if any(poll.poll(max(0.0, end - monotonic()) * 1000) for end in ends):
                    driver.pgconn.consume_input()
                    while driver.pgconn.notifies():
                        pass
        except Error:
            # The server has closed the connection. The next look reports it if there is an outage.
            self.end()

    def end(self) -> None:
        """Stop listening, until the next ``begin``."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def parts(seconds: float, *, exactly: bool) -> Sequence[float]:
    """When each part of the wait ends, in seconds from its beginning."""
    return (seconds * (1 - LAST_PART), seconds) if exactly else (seconds,)


def _can_listen(connection: BaseDatabaseWrapper) -> bool:
    """Whether the driver is psycopg 3, and no pooler is in between; if not, close the connection.

    A pooler may use another of the server's processes for each transaction, and cannot pass on what one of
    them says later. It hides which process it is.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    if hasattr(connection.connection, "pgconn") and connection.connection.pgconn.backend_pid == pid:
        return True
    connection.close()
    return False
