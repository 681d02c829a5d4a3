"""A database in a separate file, and the files that this process has open."""

import gc
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
from django.db import connections
from django.db.backends.sqlite3.base import DatabaseWrapper


@contextmanager
def in_a_file(path: str, *, patience_seconds: float = 0, init_command: str = "") -> Iterator[None]:
    """Use a SQLite file with a short lock timeout as this thread's default database."""
    usual = connections["default"]
    options = {
        "transaction_mode": "IMMEDIATE",
        "timeout": patience_seconds,
        "init_command": init_command,
    }
    settings = {**usual.settings_dict, "NAME": path, "OPTIONS": options, "CONN_MAX_AGE": 0}
    connections["default"] = DatabaseWrapper(settings, "default")
    try:
        yield
    finally:
        connections["default"] = usual


def open_files() -> list[str]:
    """The paths; a file that is open twice is listed twice."""
    return [file.path for file in psutil.Process().open_files()]


@contextmanager
def garbage_left() -> Iterator[None]:
    """Disable garbage collection, so that nothing is closed merely because it is collected."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Another writer holds its lock."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
