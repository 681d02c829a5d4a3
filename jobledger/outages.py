"""Decides whether a database error is an outage. No other module does.

It is an outage if the database cannot work right now, whatever the driver's exception: it is down, hangs,
is full or read-only, rejects the user, or lacks a column while a migration is in progress. The same
statement may succeed later. It is not an outage if the database rejects the values of the statement, as it
always would.

PostgreSQL's errors have an SQLSTATE, whose first two characters are its class; SQLite's have an error code.
An error without either comes from the driver or from Django, and its exception class decides.
"""

import inspect
import sqlite3
from collections.abc import Iterator
from traceback import walk_tb

from django.db import Error, InterfaceError, InternalError, OperationalError, ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper

# https://www.postgresql.org/docs/current/errcodes-appendix.html
ABOUT_VALUES = {
    "09": "triggered action exception",
    "10": "XQuery error",
    "20": "case not found",
    "21": "cardinality violation",
    "22": "data exception",
    "23": "integrity constraint violation",
    "27": "triggered data change violation",
    "44": "with check option violation",
    "54": "program limit exceeded",
    "P0": "raised by a trigger",
}
"""The SQLSTATE classes that concern the values of a statement."""

CONNECTION_ENDED = ("08", "57P")
"""How the SQLSTATE of an error begins that ends a connection: an exception of it, a server that stops."""

_CONNECT = inspect.unwrap(BaseDatabaseWrapper.connect).__code__

# https://www.sqlite.org/rescode.html
SQLITE_ABOUT_VALUES = {
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}
# SQLITE_ERROR is used for missing tables, but also for these.
_SQLITE_VALUES = ("malformed JSON", "integer overflow", "user-defined function raised exception")


def is_outage(error: BaseException) -> bool:
    """Whether the database cannot work right now, and the same statement is worth retrying."""
    if not isinstance(error, Error):
        return False
    cause = error.__cause__
    if sqlstate_class := (getattr(cause, "sqlstate", None) or "")[:2]:
        return sqlstate_class not in ABOUT_VALUES
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        about_values = any(text in str(error) for text in _SQLITE_VALUES)
        return code & 0xFF not in SQLITE_ABOUT_VALUES and not about_values
    return _is_outage_by_class(error)


def is_unanswered(error: BaseException) -> bool:
    """Whether the connection has ended before the statement's result: it may have been committed or not.

    After a commit, Django connects again, and an error of that hides the first one.
    """
    return any(map(_ends_connection, with_causes(error)))


def with_causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised from or during, each once."""
    found, seen = [error], set[int]()
    while found:
        each = found.pop()
        if id(each) not in seen:
            seen.add(id(each))
            yield each
            found += [other for other in (each.__cause__, each.__context__) if other is not None]


def _ends_connection(error: BaseException) -> bool:
    cause = error.__cause__
    if not is_outage(error) or getattr(cause, "sqlite_errorcode", None) is not None:
        return False
    if any(frame.f_code is _CONNECT for frame, _ in walk_tb(error.__traceback__)):
        return False  # there was no connection
    sqlstate = getattr(cause, "sqlstate", None)
    return sqlstate is None or sqlstate.startswith(CONNECTION_ENDED)


def may_be_saved(method: str | None, error: BaseException) -> bool:
    """Whether what a request with this method was to change may have been committed despite the error."""
    return method not in ("GET", "HEAD", "OPTIONS") and is_unanswered(error)


def _is_outage_by_class(error: Error) -> bool:
    match error:
        case InterfaceError():
            # Python 3.11 raises this for a value that SQLite cannot store.
            return "binding parameter" not in str(error)
        case ProgrammingError():
            return "closed database" in str(error)
    return isinstance(error, OperationalError | InternalError)
