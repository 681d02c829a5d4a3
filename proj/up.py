"""``make up``: starts the processes of the Procfile and stops them gracefully. ``python -m proj.up``.

Ctrl-C, or SIGTERM, asks every process to finish what it is doing. After the grace period, or at a second
Ctrl-C, what is still running is killed. A process that exits is restarted, unless it has only just been
started: then the others are stopped, too.
"""

import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import environ

from proj.embedded_redis import answers
from proj.environment import Environment
from proj.state import BASE_DIR, STATE_DIR, redis_socket
from proj.supervisor import supervise

# Shorter than the supervisor's grace period: running jobs are cancelled, and recorded as such, before the
# worker is killed.
RUNS_GRACE_SECONDS = "20"


def main() -> int:
    """Check that the service can start, run it, and clean up; returns the exit code."""
    env = environ.Env()
    env.read_env(BASE_DIR / ".env")
    port = chosen_port(env)
    with lock():
        refuse_taken_port(port)
        # While holding the lock: two processes that migrate a new SQLite database at once would conflict.
        if exit_code := prepare():
            return exit_code
        embedded_redis = not any(map(Environment().text, ("REDIS_URL", "RABBITMQ_URL")))
        supervisor = supervise(
            {"SHUTDOWN_GRACE_SECONDS": RUNS_GRACE_SECONDS, **os.environ, "PORT": str(port)},
            embedded_redis=embedded_redis,
        )
        redis = redis_socket() if embedded_redis else None
        threading.Thread(target=announce, args=(port, redis), daemon=True).start()
        supervisor.loop()
    remove_short_socket_folder()
    # Being stopped by a signal counts as success.
    return 0 if supervisor.returncode in (130, 143) else int(supervisor.returncode or 0)


def chosen_port(env: environ.Env) -> int:
    """The port of the web server. Exits with a message if it is not valid."""
    text = env.str("PORT", default="8000")
    if not text.isdecimal() or not 0 < int(text) < 65536:
        sys.exit(f"PORT={text!r} is not a port: use a number from 1 to 65535, for example make up PORT=8001")
    return int(text)


def prepare() -> int:
    """Set up the database; returns the exit code."""
    password_file = str(STATE_DIR / "admin_password")
    arguments = ("manage.py", "jobledger", "setup", "--admin", "--admin-password-file", password_file)
    return subprocess.run([sys.executable, *arguments], cwd=BASE_DIR, check=False).returncode


def lock() -> IO[str]:
    """Lock this clone, which can run only one service at a time. Exits with a message if it is locked."""
    file = (STATE_DIR / "up.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        sys.exit("The service is already running from this directory.")
    return file


def refuse_taken_port(port: int) -> None:
    """Exit with a message if the port is not available."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            sys.exit(f"Port {port} is not available ({error}). Choose another: make up PORT=8001")


def announce(port: int, redis: Path | None) -> None:
    """Print the address of the admin once both it and the embedded Redis, if there is one, can be reached.

    A ``celery call`` before that logs that the connection to Redis is lost, until it is there.
    """
    while not (accepts_connections(port) and (redis is None or answers(redis))):
        time.sleep(0.1)
    sys.stdout.write(
        f"\n  The admin is at http://127.0.0.1:{port}/admin/ (user admin, password in var/admin_password)."
        "\n  Ctrl-C stops the service.\n\n"
    )
    sys.stdout.flush()


def accepts_connections(port: int) -> bool:
    """Whether a server does, at this port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def remove_short_socket_folder() -> None:
    """Remove the directory in /tmp that is needed if the socket's path would be too long."""
    folder = redis_socket().parent
    if folder != STATE_DIR and folder.exists():
        folder.rmdir()


if __name__ == "__main__":
    sys.exit(main())
