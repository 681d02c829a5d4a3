"""This process, as the ledger names it: which it is, and who started it."""

import getpass
import os
import socket


def operating_system_user() -> str:
    """The name of the user it runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id that has no name
        return f"uid {os.getuid()}"


def process_by_hand() -> str:
    """This process, when it is no worker's."""
    return f"{socket.gethostname()}:{os.getpid()}"


def worker_process(hostname: str | None, pid: object) -> str:
    """A child of the worker that has this name among Celery's (``celery@host``)."""
    return f"{hostname or ''}:{pid}"
