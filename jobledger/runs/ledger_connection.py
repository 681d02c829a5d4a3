"""The service's own database connection: the record of a run does not depend on the connection of its job.

Inside ``ledger_connection``, all queries of this thread go over a connection that no job ever sees, so

- a run's row is committed even if the job was called in a transaction that is rolled back;
- nothing that a job does to its connection (settings, locks, an open transaction) affects the record;
- a job's connection is opened by the job's first query, and cannot have been closed by the server meanwhile,
  because it was idle while the job was computing.

A worker's child keeps its connection from one run to the next, which Celery would close around every task. A
connection that the server, a proxy or a firewall has closed, or may have closed, is replaced. A worker that
executes runs in threads has a few connections for all of them (``SharedConnections``), each of which is used
by one thread at a time: a hundred jobs that wait need none. All others are closed at the end of the block.

With SQLite, and inside the transaction of a Django test case, the thread's usual connection is used instead,
and left as it was found. SQLite has one writer at a time: a second connection would wait for the transaction
of the first one, which waits for it. And a test case expects to see the row, and to roll it back.

Between two jobs, however, a worker's child keeps SQLite's file open as well, so that the end of a run and the
claim of the next one need one connection. While a job runs, it is closed: the job may fork, and a child must
not inherit it; or it may open the file itself, such as to copy it, and closing it would release the locks of
all connections of its process (https://www.sqlite.org/howtocorrupt.html, sections 2.2 and 2.6).

If a router sends runs to another database, the default alias refers to that one inside the block as well.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import deepcopy
from typing import Any

from billiard import current_process
from celery.signals import task_prerun, worker_process_init, worker_process_shutdown
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from jobledger import prepared
from jobledger.jobs import registry
from jobledger.models import Run
from jobledger.runs.django_internals import is_in_test_case
from jobledger.runs.lasting_connections import FileIdentity, file_of, was_closed

MAX_IDLE_SECONDS = 60.0
"""After some minutes, firewalls drop idle connections silently; a statement then waits for a long timeout."""
MAX_SHARED = 8
"""How many connections the threads of a process share."""
LOOK_FOR_ENDED_SECONDS = 5.0


class _Own(threading.local):
    """The connection of this thread."""

    connection: BaseDatabaseWrapper | None = None
    source: dict[str, Any] | None = None
    """The settings from which the connection was made; tests change them."""
    pid = 0
    used_at = 0.0
    is_kept = False
    kept_by = 0
    """The process that keeps it; not one that a job has forked."""
    file: FileIdentity | None = None
    """With SQLite, the file that it is open for."""
    is_between_jobs = False
    """Whether SQLite's file may be kept open at the moment."""
    prepares = False
    """Whether statements are prepared on it."""


_own = _Own()
# A child that a job forks must neither use its parent's connection nor close it.
_inherited: list[BaseDatabaseWrapper] = []


@contextmanager
def ledger_connection() -> Iterator[bool]:
    """Let all queries of this thread go over the service's connection. May be nested.

    Yields whether there is a transaction on the usual connection, whose locks the service must not wait for:
    it would not end before.
    """
    alias = router.db_for_write(Run)
    usual = connections[alias]
    if usual is _own.connection:
        yield False
    elif is_shared(usual):
        with _swapped(alias, usual), left_as_found(usual):
            yield False
    else:
        with _in_use(usual) as own, _swapped(alias, own):
            yield usual.in_atomic_block


def is_own(database: BaseDatabaseWrapper) -> bool:
    """Whether it is this thread's connection of the service, and not one of the job's."""
    return database is _own.connection


def is_seen_by_others() -> bool:
    """Whether other threads see what this one writes, since it is in no transaction of its caller."""
    usual = connections[router.db_for_write(Run)]
    return not (is_shared(usual) and (usual.in_atomic_block or _is_in_memory(usual)))


def savepoint() -> AbstractContextManager[object]:
    """For a statement that may fail: it must not abort the transaction around it, if there is one."""
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def connect() -> None:
    """From now on, children of a worker keep their connection open until they end."""
    task_prerun.connect(_task_begins, dispatch_uid="jobledger.ledger_connection.task")
    worker_process_init.connect(_child_begins, dispatch_uid="jobledger.ledger_connection.begin")
    worker_process_shutdown.connect(_child_ends, dispatch_uid="jobledger.ledger_connection.end")


def keep_open(*, prepares: bool = True) -> None:
    """From now on, keep this thread's connection open from one block to the next.

    It ``prepares`` statements where PostgreSQL is to execute them often.
    """
    _own.is_kept, _own.kept_by, _own.prepares = True, os.getpid(), prepares


@contextmanager
def kept_open() -> Iterator[None]:
    """The same until the end of the block, for a few statements."""
    keep_open(prepares=False)
    try:
        yield
    finally:
        _own.is_kept = _own.is_between_jobs = False
        _own.kept_by = 0
        close()


def job_begins() -> None:
    """Keep SQLite's file closed from now on, until ``job_has_ended``."""
    _own.is_between_jobs = False
    if _own.connection is not None and _own.connection.vendor == "sqlite":
        close()


def job_has_ended() -> None:
    """Nothing is left of it: keep SQLite's file open from now on, if this thread keeps its connection."""
    _own.is_between_jobs = _own.kept_by == os.getpid()


def close() -> None:
    """Close this thread's connection, if it is open."""
    if _own.connection is not None and _own.pid == os.getpid():
        _own.connection.close()


def another(usual: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """A new connection, not open yet, to the same database."""
    return type(usual)(_own_settings(usual.settings_dict), usual.alias)


def is_shared(usual: BaseDatabaseWrapper) -> bool:
    """Whether the service has to use this connection itself."""
    if usual.vendor != "sqlite":
        return is_in_test_case(usual)
    # One that is open may be in a transaction; and in memory, another one would have a database of its own.
    return usual.connection is not None or not _own.is_between_jobs or _is_in_memory(usual)


def _is_in_memory(usual: BaseDatabaseWrapper) -> bool:
    """Whether it is a connection to a SQLite database in memory."""
    return bool(getattr(usual, "is_in_memory_db", bool)())


@contextmanager
def left_as_found(usual: BaseDatabaseWrapper) -> Iterator[None]:
    """Close the connection after the block unless it was open before, or if a statement fails."""
    was_open = usual.connection is not None
    try:
        yield
    except Error:
        was_open = False
        raise
    finally:
        if not (was_open or usual.in_atomic_block):
            usual.close()


@contextmanager
def _swapped(alias: str, used: BaseDatabaseWrapper) -> Iterator[None]:
    before = {each: connections[each] for each in {DEFAULT_DB_ALIAS, alias}}
    try:
        for each in before:
            connections[each] = used
        yield
    finally:
        for each, usual in before.items():
            connections[each] = usual


@contextmanager
def _in_use(usual: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    if _shared and not _own.is_kept:
        with _of_this_process().lent(usual) as own:
            before, _own.connection = _own.connection, own
            try:
                yield own
            finally:
                _own.connection = before
        return
    own = _taken(usual)
    try:
        with _closed_after_error(own):
            yield own
    finally:
        _own.used_at = time.monotonic()
        if not _own.is_kept:
            own.close()


@contextmanager
def _closed_after_error(own: BaseDatabaseWrapper) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # Whatever state it is in: an interrupt may have been raised in the middle of a statement.
        own.close()
        raise


def _taken(usual: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    """This thread's own connection to the same database, made or replaced if necessary."""
    own = _own.connection
    if own is not None and _own.pid != os.getpid():
        _inherited.append(own)
        own = None
    if own is None or (own.alias, _own.source) != (usual.alias, usual.settings_dict):
        close()
        _own.source = deepcopy(usual.settings_dict)
        _own.pid = os.getpid()
        own = _own.connection = another(usual)
        if _own.prepares:
            prepared.allow(own)
    elif _may_be_lost(own, _own.used_at) or _was_file_replaced(own):
        own.close()
    if own.connection is None:
        # Before it is opened: it may be replaced at any time.
        _own.file = file_of(own)
    return own


def _was_file_replaced(own: BaseDatabaseWrapper) -> bool:
    """Whether SQLite's file is another one than when the connection was opened, or is gone."""
    found = file_of(own)
    return own.vendor == "sqlite" and (found is None or found != _own.file)


def _own_settings(source: dict[str, Any]) -> dict[str, Any]:
    """The database's settings, without those that say how an application uses its connections."""
    # A pool belongs to the process's connections, and Celery closes it around every task.
    options = {name: value for name, value in source["OPTIONS"].items() if name != "pool"}
    life = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False, "AUTOCOMMIT": True}
    return {**deepcopy(source), "OPTIONS": options, **life}


def _may_be_lost(own: BaseDatabaseWrapper, used_at: float) -> bool:
    """Whether the connection was closed while nobody used it, or may have been without telling."""
    if own.connection is None:
        return False
    return time.monotonic() - used_at > MAX_IDLE_SECONDS or was_closed(own)


class SharedConnections:
    """The connections of all threads of a process: at most ``MAX_SHARED``, each lent to one at a time.

    A thread may be interrupted anywhere, even before it has given one back. So what it still has is taken
    back when it asks for another one, as it does to record the end of its run, or when it has ended.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._changed = threading.Condition()
        self._lent: dict[threading.Thread, BaseDatabaseWrapper] = {}
        self._idle: list[tuple[BaseDatabaseWrapper, float]] = []
        """The one that was used last comes last, with the time of its last use."""

    @contextmanager
    def lent(self, usual: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
        """One for this thread, which may wait for it."""
        own = self._take(usual)
        try:
            with _closed_after_error(own):
                yield own
        finally:
            self._give_back(own)

    def _take(self, usual: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
        me = threading.current_thread()
        with self._changed:
            self._take_back(me)
            while len(self._lent) >= MAX_SHARED:
                # Not forever: whoever has one may end without giving it back.
                self._changed.wait(LOOK_FOR_ENDED_SECONDS)
                for each in [each for each in self._lent if not each.is_alive()]:
                    self._take_back(each)
            own, used_at = self._idle.pop() if self._idle else (_for_any_thread(usual), 0.0)
            self._lent[me] = own
        if _may_be_lost(own, used_at):
            own.close()
        return own

    def _give_back(self, own: BaseDatabaseWrapper) -> None:
        with self._changed:
            if self._lent.pop(threading.current_thread(), None) is own:
                self._idle.append((own, time.monotonic()))
                self._changed.notify()

    def _take_back(self, thread: threading.Thread) -> None:
        if (own := self._lent.pop(thread, None)) is not None:
            own.close()
            self._changed.notify()


def _for_any_thread(usual: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
    own = another(usual)
    prepared.allow(own)
    # Django would refuse to let another thread than the first use it.
    own.inc_thread_sharing()
    return own


_shared: list[SharedConnections] = []
"""Those of this process, if its threads share them; before them, those that it has inherited."""


def share() -> None:
    """From now on, the threads of this process share a few connections."""
    _shared.append(SharedConnections())


def _of_this_process() -> SharedConnections:
    if _shared[-1].pid != os.getpid():  # forked by a job
        share()
    return _shared[-1]


def _child_begins(**kwargs: object) -> None:
    # Celery also sends this signal in a worker that has no children, which may be part of a test.
    if current_process().name != "MainProcess":
        keep_open()


def _task_begins(sender: Any = None, **kwargs: object) -> None:
    """A job's task first claims its run."""
    if _own.is_between_jobs and registry.of_task(sender.name) is None:
        job_begins()


def _child_ends(**kwargs: object) -> None:
    close()
