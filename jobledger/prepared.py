"""Statements that PostgreSQL parses and plans once for a connection, which takes longer than to execute one.

Such a plan is kept while the tables grow. So it has to use indexes from the beginning, when the tables are so
small that it would be faster to read them whole. This is only for connections that find what they need by an
index.

Behind a pooler, each transaction may be executed by another process of the server, which has more clients.
There, nothing is prepared, and nothing is set.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from django.db.backends.base.base import BaseDatabaseWrapper

T = TypeVar("T")

# Without an index, the plan would cost so much that it would be compiled to machine code, which takes longer.
PREFER_INDEXES = """
SELECT CASE WHEN pg_backend_pid() = %s
    THEN set_config('enable_seqscan', 'off', false) || set_config('jit', 'off', false) END
"""

_allowed = WeakSet[BaseDatabaseWrapper]()
_ready = WeakKeyDictionary[Any, bool]()
"""By the driver's connection: a new one has nothing prepared."""


class NotPreparedError(Exception):
    """PostgreSQL does not execute a statement as it was prepared; nothing has happened."""


def allow(connection: BaseDatabaseWrapper) -> None:
    """Statements may be prepared on this connection, which is kept open, once it is open.

    Not if the project says, as Django wants it to, that there is a pooler which does not keep sessions apart.
    """
    if connection.vendor == "postgresql" and not connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        _allowed.add(connection)


def is_ready(connection: BaseDatabaseWrapper) -> bool:
    """Whether to prepare statements on the connection; opens it if that may be."""
    if connection not in _allowed:
        return False
    connection.ensure_connection()
    known = _ready.get(connection.connection)
    # What is set in a transaction would be undone with it.
    if known is None and not connection.in_atomic_block:
        known = _ready[connection.connection] = _prefer_indexes(connection)
    return bool(known)


def execute(
    connection: BaseDatabaseWrapper, sql: str, parameters: Sequence[Any], read: Callable[[Any], T]
) -> T:
    """What is read from the cursor once the statement is executed. The connection ``is_ready``.

    Raises NotPreparedError if that was not possible, and is not tried again.
    """
    driver = _driver(connection)
    errors = driver.errors
    # Another version of the service has changed a table, or somebody has discarded what was prepared.
    stale = (errors.FeatureNotSupported, errors.InvalidSqlStatementName, errors.DuplicatePreparedStatement)
    with connection.wrap_database_errors, driver.Cursor(connection.connection) as cursor:
        try:
            cursor.execute(sql.encode(), parameters, prepare=True)
        except stale as error:
            if connection.in_atomic_block:
                raise
            _ready[connection.connection] = False
            raise NotPreparedError from error
        return read(cursor)


def _prefer_indexes(connection: BaseDatabaseWrapper) -> bool:
    """Returns False if the server executes the statement by another process than it has told: a pooler's."""
    # The project may have chosen psycopg2, which prepares nothing.
    if _driver(connection).__name__ != "psycopg":
        return False
    raw = connection.connection
    with connection.wrap_database_errors:
        (done,) = raw.execute(PREFER_INDEXES, [raw.info.backend_pid]).fetchone()
    # Nothing else, however often it is sent: otherwise, Django has the driver prepare nothing.
    raw.prepare_threshold = None if done is None else sys.maxsize
    return done is not None


def _driver(connection: Any) -> Any:
    """The module that the project has chosen."""
    return connection.Database
