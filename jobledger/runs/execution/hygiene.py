"""Hygiene: what a job leaves behind in its process must not reach the next one."""

import locale
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone, translation

from jobledger.runs.outcome import outcome_of


@contextmanager
def clean_process() -> Iterator[None]:
    """Give back the working directory, the time zones and the locale as they were."""
    # A descriptor, not a path: the folder may have been deleted, or be deleted by the job.
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    zone, locales = os.environ.get("TZ"), locale.setlocale(locale.LC_ALL)
    try:
        yield
    finally:
        os.fchdir(folder)
        os.close(folder)
        _set_zone(zone)
        locale.setlocale(locale.LC_ALL, locales)
        timezone.deactivate()
        translation.deactivate()


def close_what_was_left_open() -> None:
    """End transactions that a job began and did not end: as with its own process, they are rolled back."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and (connection.in_atomic_block or not connection.autocommit):
            _roll_back(connection)
        connection.close_if_unusable_or_obsolete()


@contextmanager
def one_process() -> Iterator[None]:
    """A job may fork. Its child ends with this block, as it would by hand, and is no second worker."""
    pid = os.getpid()
    exit_code = 0
    try:
        yield
    except BaseException as error:
        exit_code = outcome_of(error).exit_code or 0
        raise
    finally:
        if os.getpid() != pid:
            # Not sys.exit: what waits further up the stack is the worker's.
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
