"""Runs a command with ``DATABASE_URL`` for a new PostgreSQL server in a container, which is then removed.

    python -m tests.with_postgres pytest tests/unit

Without a Docker engine, it prints that the command was not run. This is a failure only if
``REQUIRE_ALL_TESTS=1`` is set.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from tests.requirements import missing_docker
from tests.waiting import wait_until

IMAGE = "postgres:17"


def main(command: list[str]) -> int:
    """Run the command; returns its exit code."""
    if reason := missing_docker():
        sys.stderr.write(f"Not run with PostgreSQL: {reason}\n")
        return 1 if os.environ.get("REQUIRE_ALL_TESTS") == "1" else 0
    with postgres() as url:
        return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode


@contextmanager
def postgres(*settings: str, survives_crash: bool = False) -> Iterator[str]:
    """Start an empty server with these settings; yields its URL, and removes the server afterwards.

    Unless it has to survive a crash, it may lose the last commits then, which makes it faster.
    """
    synchronous = "on" if survives_crash else "off"
    container = _docker(
        *("run", "--detach", "--rm", "--publish", "127.0.0.1::5432", "--env", "POSTGRES_PASSWORD=test"),
        # The data is only needed during the tests, so it need not survive a power failure.
        *("--tmpfs", "/var/lib/postgresql/data", IMAGE, "postgres", "-c", "fsync=off"),
        *(
            argument
            for setting in (
                f"synchronous_commit={synchronous}",
                "full_page_writes=off",
                "max_connections=200",
                *settings,
            )
            for argument in ("-c", setting)
        ),
    )
    try:
        port = _docker("port", container, "5432/tcp").rpartition(":")[2]
        url = f"postgres://postgres:test@127.0.0.1:{port}/postgres"
        wait_until(lambda: answers(url), what="PostgreSQL answers")
        yield url
    finally:
        _docker("rm", "--force", "--volumes", container)


def _docker(*arguments: str) -> str:
    done = subprocess.run(("docker", *arguments), check=True, capture_output=True, text=True)
    return done.stdout.strip()


def answers(url: str) -> bool:
    """Whether a server, or a pooler in front of it, accepts a connection."""
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
