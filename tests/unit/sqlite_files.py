"""A database in a file of its own, and the files that this process has open."""

import gc
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper


@contextmanager
def in_a_file(path: str, *, patience_seconds: float = 0) -> Iterator[None]:
    """The default database of this thread is a SQLite file, at whose locks nobody waits for long."""
    usual = connections["default"]
    options = {"transaction_mode": "IMMEDIATE", "timeout": patience_seconds}
    settings = {**usual.settings_dict, "NAME": path, "OPTIONS": options, "CONN_MAX_AGE": 0}
    connections["default"] = DatabaseWrapper(settings, "default")
    try:
        yield
    finally:
        connections["default"] = usual


def open_files() -> list[str]:
    """The paths; one that is opened twice is there twice."""
    return [file.path for file in psutil.Process().open_files()]


@contextmanager
def garbage_left() -> Iterator[None]:
    """Nothing is closed only because it happens to be collected."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Somebody else writes to it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
