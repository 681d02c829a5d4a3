"""Hygiene: nothing that a job leaves behind in its process may affect the next job.

What can be restored is restored. A worker's child in which something else remains (a thread that goes on, a
limit that cannot be raised again) is replaced after the run. Where jobs share a process (``shared_process``),
each has a thread of its own, and only what belongs to a thread is kept apart: connections, contexts.
"""

import decimal
import fcntl
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone, translation

from jobledger.escapes import line_logger
from jobledger.runs.execution.traits import replace_child_without
from jobledger.runs.outcome import outcome_of
from jobledger.runs.processes import billiard_internals, shared_process
from jobledger.tracing import spans

logger = line_logger(__name__)

FIRST_COPY = 100
"""Copies of descriptors have no small numbers, which a job may take for its own."""


@contextmanager
def restored_process() -> Iterator[None]:
    """Restore most of the process afterwards; have the pool replace a child that cannot be restored.

    ``Traits`` are restored earlier, because some of them would keep the end of the run from being recorded.
    """
    if shared_process.is_shared():
        # What is the thread's own ends with it. The rest may be in use by other jobs.
        yield
        return
    pipe = billiard_internals.results_pipe()
    lost: list[str] = []
    with _directory(), _standard_descriptors(lost), warnings.catch_warnings(), decimal.localcontext():
        try:
            yield
        finally:
            # A job may seed the generator so that its own numbers are reproducible.
            random.seed()
            timezone.deactivate()
            translation.deactivate()
    replace_child_without(lost)
    if billiard_internals.results_pipe() != pipe:
        # Its number may belong to another file by now, such as a connection to the database.
        logger.error("A job has closed descriptors that are not its own: its process ends")
        spans.flush()
        os._exit(billiard_internals.EX_RECYCLE)


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


@contextmanager
def _directory() -> Iterator[None]:
    # A file descriptor, not a path: the directory may be deleted before or by the job. With O_PATH, which
    # only Linux has, it need not be readable.
    directory = os.open(".", getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
    try:
        yield
    finally:
        with suppress(OSError):
            os.fchdir(directory)
            os.close(directory)


@contextmanager
def _standard_descriptors(lost: list[str]) -> Iterator[None]:
    """Open what the job has closed or replaced, or add it to ``lost``."""
    copies = {number: copy for number in range(3) if (copy := _copy_of(number)) is not None}
    try:
        yield
    finally:
        for number, copy in copies.items():
            try:
                if not _is_same(number, copy):
                    os.dup2(copy, number)
                os.close(copy)
            except OSError:
                lost.append(f"descriptor {number}")


def _copy_of(number: int) -> int | None:
    with suppress(OSError):
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, FIRST_COPY)
    return None


def _is_same(number: int, copy: int) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(number), os.fstat(copy))
    return False
