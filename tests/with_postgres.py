"""Runs a command with ``DATABASE_URL`` for a new PostgreSQL server in a container, which is then removed.

    python -m tests.with_postgres pytest tests/unit

Without a Docker engine, it prints that the command was not run. This is a failure only if
``REQUIRE_ALL_TESTS=1`` is set.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.requirements import missing_docker
from tests.waiting import wait_until

IMAGE = "postgres:17"
DATA = "/var/lib/postgresql/data"
# The data is only needed during the tests, so it need not survive a power failure.
TO_FORGET = ("fsync=off", "full_page_writes=off", "max_connections=200")


def main(command: list[str]) -> int:
    """Run the command; returns its exit code."""
    if reason := missing_docker():
        sys.stderr.write(f"Not run with PostgreSQL: {reason}\n")
        return 1 if os.environ.get("REQUIRE_ALL_TESTS") == "1" else 0
    # The container takes the folder over, which only root can remove then.
    made = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with made as folder:
        # For PgBouncer, which refuses to run as root.
        Path(folder).chmod(0o777)
        with postgres(socket_folder=Path(folder)) as url:
            return subprocess.run(command, env={**os.environ, "DATABASE_URL": url}, check=False).returncode


@contextmanager
def postgres(
    *settings: str,
    socket_folder: Path | None = None,
    by_own_address: bool = False,
    is_on_disk: bool = False,
) -> Iterator[str]:
    """Start an empty server with these settings; yields its URL, and removes the server afterwards.

    If it crashes, it may lose the last commits, which makes it faster. So does a folder for its socket, or
    the container's own address, where Docker's containers share the machine's kernel: a published port leads
    through a process of Docker, which takes as long as a short statement. Its data are in memory, unless
    they are too many.
    """
    settings = ("synchronous_commit=off", *settings)
    with postgres_container(*settings, socket_folder=socket_folder, is_on_disk=is_on_disk) as container:
        url = f"postgres://postgres:test@127.0.0.1:{port_of(container)}/postgres"
        wait_until(lambda: answers(url), what="PostgreSQL answers")
        yield next(
            filter(answers, _faster_urls(container, socket_folder, by_own_address=by_own_address)), url
        )


def _faster_urls(container: str, socket_folder: Path | None, *, by_own_address: bool) -> Iterator[str]:
    if socket_folder:
        yield f"postgres://postgres:test@:5432/postgres?host={socket_folder}"
    if by_own_address:
        yield f"postgres://postgres:test@{address_of(container)}:5432/postgres"


@contextmanager
def postgres_container(
    *settings: str, socket_folder: Path | None = None, is_on_disk: bool = False
) -> Iterator[str]:
    """Start a server with these settings; yields its container's id, without waiting for an answer."""
    container = docker(
        *("run", "--detach", "--rm", "--publish", "127.0.0.1::5432", "--env", "POSTGRES_PASSWORD=test"),
        *(("--volume", f"{socket_folder}:/var/run/postgresql") if socket_folder else ()),
        # Processes that read a large table in parallel share memory, too.
        *(("--shm-size", "1g") if is_on_disk else ("--tmpfs", DATA)),
        *(IMAGE, "postgres"),
        *(argument for setting in (*TO_FORGET, *settings) for argument in ("-c", setting)),
    )
    try:
        yield container
    finally:
        docker("rm", "--force", "--volumes", container)


def port_of(container: str) -> int:
    """Where the server in the container is found on this machine."""
    return int(docker("port", container, "5432/tcp").rpartition(":")[2])


def address_of(container: str) -> str:
    """The container's own address, in Docker's network; empty if it has none."""
    addresses = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    return next(iter(docker("inspect", "--format", addresses, container).split()), "")


def docker(*arguments: str) -> str:
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
