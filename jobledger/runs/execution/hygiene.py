"""Hygiene: nothing that a job leaves behind in its process may affect the next job."""

import locale
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone, translation

from jobledger.runs.execution.multiprocessing_internals import END_OF_POOLS
from jobledger.runs.leftovers import Leftover
from jobledger.runs.outcome import outcome_of

THREAD_END_SECONDS = 0.5


@contextmanager
def restored_process() -> Iterator[None]:
    """Restore the working directory, the time zones and the locale afterwards."""
    # A file descriptor, not a path: the directory may be deleted before or by the job.
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    zone, locales = os.environ.get("TZ"), locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        os.fchdir(directory)
        os.close(directory)
        _set_zone(zone)
        locale.setlocale(locale.LC_ALL, locales)
        timezone.deactivate()
        translation.deactivate()


def connections_in_transaction() -> frozenset[str]:
    """The aliases of this thread's connections that are in a transaction."""
    return frozenset(each.alias for each in connections.all(initialized_only=True) if each.in_atomic_block)


def release_connections(*, of_caller: frozenset[str], close: bool) -> None:
    """Roll back transactions that a job left open, as happens when a process of its own exits.

    Those of its caller continue. If ``close`` is set, so does a process's exit: with a connection, everything
    ends that the job may have left on it, such as settings, temporary tables and advisory locks.
    """
    for connection in connections.all(initialized_only=True):
        if connection.alias in of_caller:
            continue
        if connection.connection is not None and (connection.in_atomic_block or not connection.autocommit):
            _roll_back(connection)
        if close:
            with suppress(Error):
                connection.close()
        else:
            connection.close_if_unusable_or_obsolete()


class Threads:
    """The threads that the current job starts."""

    def __init__(self) -> None:
        """Those that exist already are not the job's."""
        self._before = set(threading.enumerate())

    def left(self) -> list[Leftover]:
        """The job's threads that are still running. One that is about to end may do so."""
        started = [
            each
            for each in threading.enumerate()
            # Python's name for a thread that it did not start, which never ends for it.
            if each not in self._before and not each.name.startswith(("Dummy-", END_OF_POOLS))
        ]
        deadline = time.monotonic() + THREAD_END_SECONDS
        for thread in started:
            thread.join(max(0.0, deadline - time.monotonic()))
        return [Leftover(name=thread.name) for thread in started if thread.is_alive()]


@contextmanager
def exit_forked_children() -> Iterator[None]:
    """Exit after the block if this is a child forked by the job: it must not become a second worker.

    A child of a job started from the command line exits at that point as well.
    """
    pid = os.getpid()
    exit_code = 0
    try:
        yield
    except BaseException as error:
        exit_code = outcome_of(error).exit_code or 0
        raise
    finally:
        if os.getpid() != pid:
            # Not sys.exit: everything further up the stack belongs to the worker.
            os._exit(exit_code)


def _roll_back(connection: BaseDatabaseWrapper) -> None:
    connection.in_atomic_block = False
    connection.atomic_blocks = []
    connection.savepoint_ids = []
    connection.needs_rollback = False
    connection.run_on_commit = []
    try:
        connection.rollback()
        connection.set_autocommit(True)
    except Error:
        connection.close()


def _set_zone(zone: str | None) -> None:
    if os.environ.get("TZ") == zone:
        return
    if zone is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = zone
    time.tzset()
