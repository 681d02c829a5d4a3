"""The worker's main process at its shutdown: what that cannot wait for is ended in time."""

import logging
import threading
from typing import Any

from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from jobledger.models import Reason, Run, Status, Why
from jobledger.runs.dispatch import worker_process
from jobledger.runs.execution.forks import write_between_forks

logger = logging.getLogger(__name__)

LONGEST_ASKING_SECONDS = 5.0


def connect() -> None:
    """Watch from now on."""
    worker_shutting_down.connect(_shutting_down, dispatch_uid="jobledger.worker.shutting_down")


def _shutting_down(sender: Any = None, how: str = "", **kwargs: Any) -> None:
    """A warm shutdown waits without limit; this ends the runs cleanly before the worker is killed."""
    timer = threading.Timer(settings.SHUTDOWN_GRACE_SECONDS, _cancel_all, args=[str(sender)])
    timer.daemon = True
    timer.start()


def _cancel_all(hostname: str) -> None:
    def ask() -> None:
        mine = Run.objects.filter(status=Status.RUNNING, worker__startswith=worker_process(hostname, ""))
        why = Why.of(Reason.WORKER_SHUTDOWN, worker=hostname)
        mine.filter(cancel_requested_at=None).update(cancel_requested_at=timezone.now(), **why.columns)

    try:
        write_between_forks(ask, within_seconds=LONGEST_ASKING_SECONDS)
    except (DatabaseError, InterfaceError):
        logger.exception("The runs of %s could not be cancelled", hostname)
