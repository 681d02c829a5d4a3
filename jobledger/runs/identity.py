"""Who starts and executes runs, as it is recorded on them: the user, and the process."""

import getpass
import os
import socket
import uuid

IDENTITY = uuid.uuid4().hex
"""Identifies this process and its children: workers may share a name, and processes an id."""


def operating_system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, the user id may have no name
        return f"uid {os.getuid()}"


def command_line_process(pid: int | None = None) -> str:
    """The value of ``Run.worker`` for a process that was not handed the run by Celery; by default this one.

    It was started from the command line, or its job has called another one.
    """
    return f"{socket.gethostname()}:{pid or os.getpid()}"


def worker_process(hostname: str | None, pid: object) -> str:
    """The value of ``Run.worker`` for a child process of the Celery worker ``hostname`` (``celery@host``)."""
    return f"{hostname or ''}:{pid}"
