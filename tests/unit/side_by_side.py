"""Concurrent calls in threads, each with its own connection to the same database."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

from django.db import connection, connections

from tests.unit.sqlite_files import in_a_file

TIMEOUT_SECONDS = 20.0


class SideBySide:
    """A database that several threads can use."""

    def __init__(self, path: str) -> None:
        """Empty: this thread's own database."""
        self._path = path

    def call(self, calls: Sequence[Callable[[], object]]) -> None:
        """Call all of them concurrently; raises the first error."""
        errors: list[Exception] = []
        threads = [threading.Thread(target=self._call, args=[each, errors]) for each in calls]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    def _call(self, call: Callable[[], object], errors: list[Exception]) -> None:
        with in_a_file(self._path, patience_seconds=TIMEOUT_SECONDS) if self._path else nullcontext():
            try:
                call()
            except Exception as error:  # noqa: BLE001 - raised in the test's own thread
                errors.append(error)
            finally:
                connections.close_all()


@contextmanager
def side_by_side(folder: Path) -> Iterator[SideBySide]:
    """Inside the block, several threads can use the default database.

    For tests without a transaction. A SQLite database in memory is the connection's own, so its tables are
    copied into a file.
    """
    if connection.vendor != "sqlite":
        yield SideBySide("")
        return
    connection.ensure_connection()
    path = str(folder / "side_by_side.sqlite3")
    with closing(sqlite3.connect(path)) as file:
        connection.connection.backup(file)
        file.execute("PRAGMA journal_mode = WAL")
    with in_a_file(path, patience_seconds=TIMEOUT_SECONDS):
        yield SideBySide(path)
        connection.close()
