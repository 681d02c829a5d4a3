"""Signs of life: a process that does its work touches a file, and a health check looks at the file's age.

Reading a file's age costs nothing; asking by ``inspect ping`` would start a Python every few
seconds. ``HEALTH_DIR`` names the folder; without it nothing is written.
"""

import logging
from pathlib import Path

from celery.signals import heartbeat_sent
from django.conf import settings

logger = logging.getLogger(__name__)


def show(process: str) -> None:
    """Say that this kind of process (``beat``, ``worker``) has just worked.

    A folder that cannot be written is logged: the process works all the same, and its health
    check fails, as it should.
    """
    folder = settings.HEALTH_DIR
    if not folder:
        return
    try:
        (Path(folder) / process).touch()
    except OSError as error:
        logger.warning("The sign of life of %s cannot be written: %s", process, error)


def watch_worker() -> None:
    """Touch the worker's file whenever the worker has sent its heartbeat through the broker."""
    heartbeat_sent.connect(_worker_lives, dispatch_uid="jobs.liveness")


def _worker_lives(**kwargs: object) -> None:
    show("worker")
