"""Threads that use the database in a process that forks: a worker's main one, or that of a job.

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
from contextlib import contextmanager, nullcontext

from django.db import DatabaseError, InterfaceError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from tasks_app.jobs.running.hygiene import close_connections, let_go_of_cursors

SQLITE_PATIENCE_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 3.0
REST_SECONDS = 0.3


class _Gate:
    """Any number of threads inside, or one that forks; while one wants to fork, nobody else comes in.

    Otherwise threads that go in by turns could keep a fork waiting until its patience ends.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._forking = 0

    def enter(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._forking, timeout=LONGEST_WAIT_SECONDS)
            self._inside += 1

    def leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def close(self) -> None:
        self._changed.acquire()
        self._forking += 1
        self._changed.wait_for(lambda: not self._inside, timeout=LONGEST_WAIT_SECONDS)

    def open(self) -> None:
        self._forking -= 1
        self._changed.notify_all()
        self._changed.release()

    def renew(self) -> None:
        # In the child, the threads that may be inside are not there.
        self._changed, self._inside, self._forking = threading.Condition(), 0, 0


_gate = _Gate()
os.register_at_fork(before=_gate.close, after_in_parent=_gate.open, after_in_child=_gate.renew)


@contextmanager
def between_forks() -> Iterator[None]:
    """Let this thread use the database without a child that inherits its connection."""
    close_connections()
    usual = {alias: connections[alias] for alias in connections}
    _gate.enter()
    for alias, patient in usual.items():
        connections[alias] = _impatient(patient)
    try:
        yield
    except BaseException as error:
        let_go_of_cursors(error)
        raise
    finally:
        close_connections()
        for alias, patient in usual.items():
            connections[alias] = patient
        _gate.leave()


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
