"""The PostgreSQL server of the tests, as seen and disturbed by somebody else."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection


class Server:
    """The sessions of the default database, through a connection of its own."""

    def __init__(self, other: "psycopg.Connection[Any]") -> None:
        self._other = other
        self._name = connection.settings_dict["NAME"]

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """The result of a statement, outside any transaction of this test."""
        answer = self._other.execute(statement.encode(), values)
        return answer.fetchall() if answer.description else []

    def sessions(self) -> int:
        """How many connections to the database there are, apart from this one."""
        others = "FROM pg_stat_activity WHERE datname = %s AND pid != pg_backend_pid()"
        return int(self.execute(f"SELECT count(*) {others}", self._name)[0][0])

    def waiting(self) -> int:
        """How many of them wait for a lock."""
        locked = "FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
        return int(self.execute(f"SELECT count(*) {locked}", self._name)[0][0])

    def is_executing(self, statement: str) -> bool:
        """Whether one of them is executing exactly this."""
        active = "FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query = %s"
        return bool(self.execute(f"SELECT 1 {active}", self._name, statement))

    def close_all(self) -> None:
        """Close all connections to the database, as a restart does."""
        others = "FROM pg_stat_activity WHERE datname = %s AND pid != pg_backend_pid()"
        while self.execute(f"SELECT pg_terminate_backend(pid) {others}", self._name):
            pass


@contextmanager
def server() -> Iterator[Server]:
    """The server of the default database, which must be PostgreSQL."""
    parameters = connection.get_connection_params()
    wanted = {name: parameters[name] for name in ("dbname", "user", "password", "host", "port")}
    with psycopg.connect(**wanted, autocommit=True) as other:
        yield Server(other)


@contextmanager
def server_or_skip(why: str) -> Iterator[Server]:
    """The same, if it is PostgreSQL. Otherwise, skip the test, and say why it needs one."""
    if connection.vendor != "postgresql":
        pytest.skip(why)
    with server() as found:
        yield found
