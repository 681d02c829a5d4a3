"""The loss of a worker's child: its main process sees it, and ends the run that this child had.

Not a later attempt of the same run: one may long have begun elsewhere, when this process was suspended.
"""

import logging
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from django.db import DatabaseError, InterfaceError

from tasks_app.jobs.models import Run, Status
from tasks_app.jobs.running import rescue
from tasks_app.jobs.running.dispatch import run_id_of
from tasks_app.jobs.running.hygiene import close_connections
from tasks_app.jobs.running.process import worker_process

logger = logging.getLogger(__name__)

TIMED_OUT = "The run took longer than its time limit. It held its process fast and was killed."


class JobRequest(Request):
    """A message under execution, as Celery keeps it in the main process: it knows the child that has it."""

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        """Celery's hard time limit: the child is killed."""
        if not soft:
            end_run_of(self.id, _child(self), TIMED_OUT, timed_out=True)
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """The task failed, or its process died."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            end_run_of(self.id, _child(self), f"Its process died: {error}")
        return super().on_failure(exc_info, *args, **kwargs)


def end_run_of(task_id: str, child: str, reason: str, *, timed_out: bool = False) -> None:
    """End the run of this task if this child is the process that has it."""
    try:
        running = Run.objects.filter(pk=run_id_of(task_id), status=Status.RUNNING, worker=child)
        if (run := running.first()) is not None:
            rescue.give_up(run, reason, timed_out=timed_out)
    except (DatabaseError, InterfaceError):
        logger.exception("The loss of run %s could not be recorded; its lease will show it", task_id)
    finally:
        # The next loss is far away: by then a connection kept open may be dead.
        close_connections()


def _child(request: Request) -> str:
    return worker_process(request.hostname, request.worker_pid)
