"""``make up``: starts the processes of the Procfile and stops them warmly. ``python -m proj.up``.

Ctrl-C, or SIGTERM, asks every process to finish what it is doing; after the grace time, or at a
second Ctrl-C, what still runs is killed. A process that ends by itself is started again; when one ends that
had only just begun, the others are stopped as well.
"""

import fcntl
import os
import socket
import subprocess
import sys
import threading
import time
from typing import IO

import environ

from proj.environment import Environment
from proj.state import BASE_DIR, STATE_DIR, redis_socket
from proj.supervisor import supervise

# Before the worker is killed, runs that take longer are cancelled: a clean end, on record.
RUNS_GRACE_SECONDS = "20"


def main() -> int:
    """Check that the service can start, run it, and leave nothing behind; returns the exit code."""
    env = environ.Env()
    env.read_env(BASE_DIR / ".env")
    port = chosen_port(env)
    with lock():
        refuse_taken_port(port)
        # Only whoever holds the lock: two that migrate one new SQLite file at once are in each other's way.
        if exit_code := prepare():
            return exit_code
        supervisor = supervise(
            {"SHUTDOWN_GRACE_SECONDS": RUNS_GRACE_SECONDS, **os.environ, "PORT": str(port)},
            embedded_redis=not Environment().text("REDIS_URL"),
        )
        threading.Thread(target=announce, args=(port,), daemon=True).start()
        supervisor.loop()
    remove_short_socket_folder()
    # Being stopped is how this command ends well.
    return 0 if supervisor.returncode in (130, 143) else int(supervisor.returncode or 0)


def chosen_port(env: environ.Env) -> int:
    """The web port; exits with a message when it is no number of one."""
    text = env.str("PORT", default="8000")
    if not text.isdecimal() or not 0 < int(text) < 65536:
        sys.exit(f"PORT={text!r} is no port: choose a number from 1 to 65535, for example make up PORT=8001")
    return int(text)


def prepare() -> int:
    """Make the database ready; returns the exit code of that."""
    password_file = str(STATE_DIR / "admin_password")
    arguments = ("manage.py", "jobledger", "setup", "--admin-password-file", password_file)
    return subprocess.run([sys.executable, *arguments], cwd=BASE_DIR, check=False).returncode


def lock() -> IO[str]:
    """Hold this clone's service for this process; a clone runs one service at a time."""
    file = (STATE_DIR / "up.lock").open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        sys.exit("The service is already running from this folder.")
    return file


def refuse_taken_port(port: int) -> None:
    """Exit with a message when something listens on the web port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            sys.exit(f"Port {port} cannot be used ({error}). Choose another: make up PORT=8001")


def announce(port: int) -> None:
    """Say where the admin is as soon as it answers."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
            continue
        break
    sys.stdout.write(
        f"\n  The admin is at http://127.0.0.1:{port}/admin/ (user admin, password in var/admin_password)."
        "\n  Ctrl-C stops the service.\n\n"
    )
    sys.stdout.flush()


def remove_short_socket_folder() -> None:
    """Take away the folder that a socket with too long a path had needed."""
    folder = redis_socket().parent
    if folder != STATE_DIR and folder.exists():
        folder.rmdir()


if __name__ == "__main__":
    sys.exit(main())
