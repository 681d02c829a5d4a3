"""Forks: no child may inherit a SQLite connection that another thread of its parent has open.

The child would take that connection's locks for its own, and what it then writes is lost, or makes the file
unreadable (https://www.sqlite.org/howtocorrupt.html, section 2.6). Two kinds of process fork while a thread
of the service may be in the database: a worker's main process, which replaces its children, and a job, which
knows nothing of its heartbeat. So on SQLite these threads open their connection inside ``between_forks``
only, under a lock that every fork takes first. They wait half a second at most for another process's lock,
and so a fork does not wait long for them. Other databases' connections do no harm in a child that does not
touch them.

How it was tried: four threads write as often as they can, beside a process that forks children that write.
Without the lock most children hang in SQLite, whose own mutexes they inherit as well. With it every row of
6,700 children and of the threads was there and ``PRAGMA integrity_check`` said ok; no fork waited longer than
1.5 seconds, on two cores that were busy with other things. A short version is among the tests; others kill a
worker's child while the database is locked, and cancel jobs that do nothing but fork.
"""

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from django.db import Error, connection, connections

SQLITE_PATIENCE_MS = 500
REST_SECONDS = 0.3

# What runs at a fork is C code throughout: Python drops an exception that a signal's handler raises in there.
_lock = threading.RLock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_under_way: list[None] = []
# Registered after the lock, so a fork is under way before it waits for the lock and until it has released it.
os.register_at_fork(
    before=partial(_under_way.append, None), after_in_parent=_under_way.pop, after_in_child=_under_way.clear
)


def is_under_way() -> bool:
    """Whether a thread is forking: what a signal's handler raises in that thread would be dropped."""
    return bool(_under_way)


@contextmanager
def between_forks() -> Iterator[None]:
    """Let this thread use a SQLite database while nothing forks; at the end its connections are closed."""
    if connection.vendor != "sqlite":
        yield
        return
    with _lock:
        try:
            _limit_patience()
            yield
        except BaseException as error:
            release_cursors(error)
            raise
        finally:
            close_connections()


def write_between_forks(write: Callable[[], None], *, within_seconds: float) -> None:
    """Write, and try again what the database refuses. Raises what it raises when the time is over."""
    deadline = time.monotonic() + within_seconds
    while True:
        try:
            with between_forks():
                return write()
        except Error:
            if time.monotonic() >= deadline:
                raise
        finally:
            close_connections()
        time.sleep(REST_SECONDS)


def close_connections() -> None:
    """Close this thread's connections, but for one in whose transaction the caller is."""
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()


def release_cursors(error: BaseException | None) -> None:
    """Drop what a failed statement keeps: its cursor, in the frames of the error, keeps SQLite's files open.

    Python closes a connection by ``sqlite3_close_v2``, which waits for the cursors, and the frames live until
    the next garbage collection. The error's message and the lines of its traceback stay.
    """
    errors, seen = [error], set[int]()
    while errors:
        error = errors.pop()
        if error is not None and id(error) not in seen:
            seen.add(id(error))
            traceback.clear_frames(error.__traceback__)
            errors += [error.__cause__, error.__context__]


def _limit_patience() -> None:
    if not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {SQLITE_PATIENCE_MS}")
