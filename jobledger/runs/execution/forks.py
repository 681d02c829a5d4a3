"""Threads that use the database in a process that forks: a worker's main one, or that of a job.

A SQLite connection must not be carried over a fork (https://www.sqlite.org/howtocorrupt.html, section 2.6):
the child takes the locks of the connection that it inherits for its own, and what it writes from then on is
lost, or makes the file unreadable. So a fork waits at a gate until no thread is inside ``between_forks``,
where no SQLite connection waits long for another process. PostgreSQL's connections do no harm in a child that
does not touch them.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from django.db import DatabaseError, InterfaceError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from jobledger.runs.execution.fork_gate import gate
from jobledger.runs.execution.hygiene import close_connections, let_go_of_cursors

SQLITE_PATIENCE_SECONDS = 0.5
REST_SECONDS = 0.3


@contextmanager
def between_forks() -> Iterator[None]:
    """Let this thread use the database without a child that inherits its connection."""
    close_connections()
    usual = {alias: connections[alias] for alias in connections}
    gate.enter()
    try:
        for alias, patient in usual.items():
            connections[alias] = _impatient(patient)
        yield
    except BaseException as error:
        let_go_of_cursors(error)
        raise
    finally:
        close_connections()
        for alias, patient in usual.items():
            connections[alias] = patient
        gate.leave()


@contextmanager
def sqlite_between_forks() -> Iterator[None]:
    """As ``between_forks`` for SQLite; another database's connection is kept, and no fork waits for it."""
    with between_forks() if connection.vendor == "sqlite" else nullcontext():
        yield


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


def _impatient(patient: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """One that does not wait long for other processes' locks; a test's transaction goes on as it is."""
    if patient.vendor != "sqlite" or patient.in_atomic_block:
        return patient
    impatient = patient.copy()
    impatient.settings_dict["OPTIONS"]["timeout"] = SQLITE_PATIENCE_SECONDS
    return impatient
