"""The database connections of threads that jobs start, in a worker's child.

A thread that ends leaves its connections open. They have cycles, so only the garbage collector finds them,
which may be long after the run: an idle child would keep them from others. Here, those of threads that have
ended are closed when another thread opens one, and when a run ends.
"""

import os
import threading
from contextlib import suppress

from billiard import current_process
from celery.signals import worker_process_init
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_opened: list[tuple[int, threading.Thread, BaseDatabaseWrapper]] = []
"""With the process that has opened each: a child that a job forks must not close its parent's."""


def connect() -> None:
    """From now on, children of a worker note the connections that threads open."""
    worker_process_init.connect(_child_begins, dispatch_uid="jobledger.thread_connections")


def begin() -> None:
    """From now on, note the connections that threads of this process open, except its main thread."""
    connection_created.connect(_note, dispatch_uid="jobledger.thread_connections")


def end() -> None:
    """Undo ``begin``."""
    connection_created.disconnect(dispatch_uid="jobledger.thread_connections")


def close_those_of_ended_threads() -> None:
    """Close them. Does nothing in a process that has not begun to note them."""
    for each in [each for each in _opened if not each[1].is_alive()]:
        # Another thread may have found it as well. No lock, which a job that forks would leave locked.
        with suppress(ValueError):
            _opened.remove(each)
            _close(*each)


def _close(pid: int, _: threading.Thread, connection: BaseDatabaseWrapper) -> None:
    # One that is shared on purpose may be in use by another thread.
    if pid == os.getpid() and not connection.allow_thread_sharing:
        connection.inc_thread_sharing()
        with suppress(Exception):
            connection.close()


def _child_begins(**kwargs: object) -> None:
    # Celery also sends this signal in a worker that has no children.
    if current_process().name != "MainProcess":
        begin()


def _note(connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    thread = threading.current_thread()
    if thread is threading.main_thread():
        return
    close_those_of_ended_threads()
    _opened.append((os.getpid(), thread, connection))
