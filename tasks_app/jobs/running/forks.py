"""A worker's main process and the database: it forks children at any time, and threads of it write rows.

A SQLite connection must not be carried over a fork (https://www.sqlite.org/howtocorrupt.html, section 2.6):
the child takes the locks of the connection that it inherits for its own, and what it writes from then on is
lost, or makes the file unreadable. So a fork waits until no thread is inside ``between_forks``, where no
SQLite connection waits long for another process. PostgreSQL's connections do no harm in a child that does
not touch them: a fork does not wait for a server that hangs.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tasks_app.jobs.running.hygiene import close_connections

SQLITE_PATIENCE_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 3.0
REST_SECONDS = 0.3


class _Gate:
    """Any number of threads inside, or one that forks."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0

    def enter(self) -> None:
        with self._changed:
            self._inside += 1

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        self._changed.acquire()
        self._changed.wait_for(lambda: not self._inside, timeout=LONGEST_WAIT_SECONDS)

    def open(self) -> None:
        self._changed.release()

    def renew(self) -> None:
        # In the child, the threads that may be inside are not there.
        self._changed, self._inside = threading.Condition(), 0


_gate = _Gate()
os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_gate.renew)


@contextmanager
def between_forks() -> Iterator[None]:
    """Let this thread use the database without a child that inherits its connection."""
    close_connections()
    usual = {alias: connections[alias] for alias in connections}
    _gate.enter()
    for alias, connection in usual.items():
        connections[alias] = _impatient(connection)
    try:
        yield
    finally:
        close_connections()
        for alias, connection in usual.items():
            connections[alias] = connection
        _gate.leave()


def write_between_forks(write: Callable[[], None], *, within_seconds: float) -> None:
    """Write, and try again what the database refuses. Raises what it raises when the time is over."""
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            with between_forks():
                return write()
        except (DatabaseError, InterfaceError):
            if time.monotonic() >= deadline:
                raise
        time.sleep(REST_SECONDS)


def _impatient(connection: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """One that does not wait long for other processes' locks; a test's transaction goes on as it is."""
    if connection.vendor != "sqlite" or connection.in_atomic_block:
        return connection
    impatient = connection.copy()
    impatient.settings_dict["OPTIONS"]["timeout"] = SQLITE_PATIENCE_SECONDS
    return impatient
