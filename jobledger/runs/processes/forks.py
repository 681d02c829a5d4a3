"""Forks: what a child must not inherit, and what it must not miss.

No child may inherit a SQLite connection that another thread of its parent has open. It would consider that
connection's locks its own, and its writes would be lost or corrupt the file
(https://www.sqlite.org/howtocorrupt.html, section 2.6). Two kinds of process fork while one of our threads
may be using the database: a worker's main process, which replaces its children, and a job, which does not
know about its heartbeat. So on SQLite, these threads open a connection only inside ``between_forks``, under a
lock that every fork acquires first. They wait for another process's lock for half a second at most, so a fork
is not delayed for long. Connections to other databases are harmless in a child that does not use them.

This was tested with four threads that write as often as they can, while their process forks children that
write. Without the lock, most children hang in SQLite, because they also inherit its mutexes. With the lock,
every row of the threads and of 6,700 children was there, ``PRAGMA integrity_check`` reported no error, and no
fork waited for more than 1.5 seconds on two busy cores. The test suite contains a short version; other tests
kill a worker's child while the database is locked, and cancel jobs that do nothing but fork.

Nor may a child miss a SIGTERM: a pool that ends waits for its children, and would wait for this one forever.
Python forgets the signals that a child receives before its fork hooks run, and drops what a handler raises
while they run. So SIGTERM is blocked from before the fork until the child has its own handler.
"""

import ctypes
import os
import signal
import sqlite3
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

from django.db import Error, connection, connections

from jobledger.outages import with_causes
from jobledger.runs.django_internals import connections_half_open

SQLITE_BUSY_TIMEOUT_MS = 500
RETRY_SECONDS = 0.3

_children_end_at_sigterm = set[object]()


def _reset_sigterm_in_child() -> None:
    if _children_end_at_sigterm:
        _children_end_at_sigterm.clear()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _signal_set(*signals: signal.Signals) -> ctypes.Array[ctypes.c_char]:
    found = ctypes.create_string_buffer(128)  # As large as a ``sigset_t`` is anywhere.
    _libc.sigemptyset(found)
    for number in signals:
        _libc.sigaddset(found, number)
    return found


# All other hooks are C functions: an exception that a signal handler raises during a fork would be dropped.
# Nor do they use ``signal.pthread_sigmask``, which calls the handlers of signals that have arrived.
_libc = ctypes.PyDLL(None)
_mask_before = _signal_set()
_set_mask = _libc.pthread_sigmask
os.register_at_fork(after_in_child=_reset_sigterm_in_child)
# Registered before the lock, which protects the saved mask: hooks before a fork run in reverse order.
_restore_mask = partial(_set_mask, signal.SIG_SETMASK, _mask_before, None)
os.register_at_fork(
    before=partial(_set_mask, signal.SIG_BLOCK, _signal_set(signal.SIGTERM), _mask_before),
    after_in_parent=_restore_mask,
    after_in_child=_restore_mask,
)
_lock = threading.RLock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_under_way: list[None] = []
# Registered after the lock: so a fork counts as under way from before it waits for the lock until after it
# has released it.
os.register_at_fork(
    before=partial(_under_way.append, None), after_in_parent=_under_way.pop, after_in_child=_under_way.clear
)


def is_under_way() -> bool:
    """Whether a thread is forking: an exception from a signal handler in that thread would be dropped."""
    return bool(_under_way)


@contextmanager
def children_end_at_sigterm() -> Iterator[None]:
    """In the block, have forked processes end at SIGTERM, as ``multiprocessing`` expects.

    Otherwise, they inherit the handler of their parent.
    """
    block = object()
    _children_end_at_sigterm.add(block)
    try:
        yield
    finally:
        # Not there in a child.
        _children_end_at_sigterm.discard(block)


def not_forking() -> AbstractContextManager[object]:
    """In the block, no other thread forks."""
    return _lock


@contextmanager
def between_forks() -> Iterator[None]:
    """Let this thread use a SQLite database while nothing forks, then close its connections."""
    if connection.vendor != "sqlite":
        yield
        return
    with _lock:
        try:
            _limit_busy_timeout()
            yield
        except BaseException as error:
            release_cursors(error)
            raise
        finally:
            close_connections()


def write_between_forks(write: Callable[[], None], *, within_seconds: float) -> None:
    """Write, retrying on database errors. Raises the last error if the time is up."""
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
        time.sleep(RETRY_SECONDS)


def close_connections() -> None:
    """Close this thread's connections, except any that are in a transaction."""
    for each in connections.all(initialized_only=True):
        if not each.in_atomic_block:
            each.close()


def release_cursors(error: BaseException | None) -> None:
    """Release the cursors that an error's frames refer to, because they keep SQLite's files open.

    Python closes a connection with ``sqlite3_close_v2``, which waits for its cursors, and the frames live
    until the next garbage collection. The error keeps its message and the lines of its traceback. A
    connection that could not even be opened completely is closed here: nobody else knows it.
    """
    for each in () if error is None else with_causes(error):
        for opened in connections_half_open(each.__traceback__):
            with suppress(sqlite3.Error):
                opened.close()
        traceback.clear_frames(each.__traceback__)


def _limit_busy_timeout() -> None:
    if not connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {SQLITE_BUSY_TIMEOUT_MS}")
