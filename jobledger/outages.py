"""Outages: the one place that decides whether a database error is one.

It is an outage when the database cannot do its work now, whatever the driver calls that: it is away, hangs,
is full or read-only, refuses the user, or lacks a column while a migration is under way. The same statement
may succeed later. It is none when the database objects to the statement's values, as it always will.

PostgreSQL says what happened by its SQLSTATE, whose first two characters are a family, and SQLite by a code.
An error without either is the driver's or Django's own, and its class decides.
"""

import sqlite3

from django.db import Error, InterfaceError, InternalError, OperationalError, ProgrammingError

# https://www.postgresql.org/docs/current/errcodes-appendix.html
ABOUT_VALUES = {
    "09": "triggered action exception",
    "20": "case not found",
    "21": "cardinality violation",
    "22": "data exception",
    "23": "integrity constraint violation",
    "27": "triggered data change violation",
    "44": "with check option violation",
    "54": "program limit exceeded",
    "P0": "raised by a trigger",
}
"""The families of SQLSTATE that concern the values of a statement."""

# https://www.sqlite.org/rescode.html
SQLITE_ABOUT_VALUES = {
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_RANGE,
}
# SQLITE_ERROR stands for a missing table, and for these.
_SQLITE_VALUES = ("malformed JSON", "integer overflow", "user-defined function raised exception")


def is_outage(error: BaseException) -> bool:
    """Whether the database cannot work now, and what was asked is worth asking again."""
    if not isinstance(error, Error):
        return False
    cause = error.__cause__
    if family := (getattr(cause, "sqlstate", None) or "")[:2]:
        return family not in ABOUT_VALUES
    if (code := getattr(cause, "sqlite_errorcode", None)) is not None:
        about_values = any(text in str(error) for text in _SQLITE_VALUES)
        return code & 0xFF not in SQLITE_ABOUT_VALUES and not about_values
    return _is_outage_by_class(error)


def _is_outage_by_class(error: Error) -> bool:
    match error:
        case InterfaceError():
            # So Python 3.11 calls a value that SQLite cannot store.
            return "binding parameter" not in str(error)
        case ProgrammingError():
            return "closed database" in str(error)
    return isinstance(error, OperationalError | InternalError)
