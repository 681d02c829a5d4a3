"""Connections of a process that looks at the database every second: kept from one look to the next.

Django closes a connection between two pieces of work once it is older than ``CONN_MAX_AGE``, with SQLite
usually at once, and may first ask the server whether it is still there. To open SQLite's file again takes
longer than whatever is done with it, and the last one to close it also has to empty its write-ahead log.

A connection is replaced when it may be of no use: after an error, when the server has closed it, when
SQLite's file was moved or replaced, and every ten minutes, because a name may lead to another server by then.
"""

import os
import select
from dataclasses import dataclass
from time import monotonic
from weakref import WeakKeyDictionary

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

MAX_AGE_SECONDS = 600.0


FileIdentity = tuple[int, int]
"""The device and the inode of SQLite's file."""


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """When and to what a connection was opened."""

    at: float
    file: FileIdentity | None


_opened = WeakKeyDictionary[BaseDatabaseWrapper, _Opened]()


def keep() -> None:
    """From now on, ``close_lost`` keeps what this process opens."""
    connection_created.connect(_note, dispatch_uid="jobledger.lasting_connections")


def close_lost() -> None:
    """Close this thread's connections that may be of no use, except any that are in a transaction.

    To be called between two pieces of work, instead of Django's ``close_old_connections``, which decides
    about connections that were opened before ``keep`` was called.
    """
    for each in connections.all(initialized_only=True):
        opened = _opened.get(each)
        if opened is None:
            each.close_if_unusable_or_obsolete()
        elif each.connection is not None and not each.in_atomic_block and not _is_usable(each, opened):
            each.close()


def was_closed(connection: BaseDatabaseWrapper) -> bool:
    """Whether PostgreSQL has closed the connection. SQLite's are not closed by anybody else.

    A query would tell as well, but takes longer: a server that closes a connection says so first, and it says
    nothing else unasked.
    """
    if connection.vendor == "sqlite":
        return False
    poll = select.poll()
    try:
        with connection.wrap_database_errors:
            poll.register(connection.connection.fileno(), select.POLLIN)
    except Error:
        return True
    return bool(poll.poll(0))


def written(connection: BaseDatabaseWrapper) -> object:
    """What differs once other connections have written to SQLite's file, while this one is open; None if
    that is unknown.
    """
    # A database in memory is shared by all connections.
    if connection.vendor != "sqlite" or connection.is_in_memory_db():  # type: ignore[attr-defined]
        return None
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA data_version")
        return connection.connection, *cursor.fetchone()


def _note(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    _opened[connection] = _Opened(at=monotonic(), file=file_of(connection))


def _is_usable(connection: BaseDatabaseWrapper, opened: _Opened) -> bool:
    if connection.errors_occurred or connection.get_autocommit() != connection.settings_dict["AUTOCOMMIT"]:
        return False
    if monotonic() - opened.at > MAX_AGE_SECONDS or file_of(connection) != opened.file:
        return False
    return connection.vendor != "postgresql" or not was_closed(connection)


def file_of(connection: BaseDatabaseWrapper) -> FileIdentity | None:
    """The file that has its name now; None if it is not a file, or is gone."""
    if connection.vendor != "sqlite":
        return None
    try:
        found = os.stat(connection.settings_dict["NAME"])  # noqa: PTH116 - for each run: `Path` takes longer
    except OSError:
        return None
    return found.st_dev, found.st_ino
