"""The databases to measure with: SQLite, and a PostgreSQL server in a container."""

import os
import platform
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.rows.row import NotMeasuredError
from tests.requirements import missing_docker
from tests.with_postgres import IMAGE, postgres

DATABASES = ("sqlite", "postgres")
COUNTS_STATEMENTS = "shared_preload_libraries=pg_stat_statements"


@contextmanager
def database_server(database: str, *settings: str) -> Iterator[None]:
    """Set ``DATABASE_URL``, which the test service reads. Raises NotMeasuredError if there is no server.

    The settings are PostgreSQL's.

    It leads to the container's own address, by TCP and with a password, as in Compose. Where that is not
    possible, a process of Docker takes part in what is measured.
    """
    if database == "postgres" and (reason := missing_docker()):
        raise NotMeasuredError(reason)
    given = os.environ.pop("DATABASE_URL", "")
    try:
        if database == "sqlite":
            yield
            return
        with postgres(COUNTS_STATEMENTS, *settings, by_own_address=True) as url:
            os.environ["DATABASE_URL"] = url
            yield
    finally:
        os.environ.pop("DATABASE_URL", None)
        if given:
            os.environ["DATABASE_URL"] = given


def machine(database: str) -> str:
    """Describe the machine, without its name."""
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    server = f"SQLite {sqlite3.sqlite_version}" if database == "sqlite" else f"{IMAGE}, without fsync"
    return f"{os.cpu_count()} cores, {system}, {server}"
