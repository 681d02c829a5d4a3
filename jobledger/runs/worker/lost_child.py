"""The loss of a worker's child: its main process sees it, and ends the run that this child had.

Not a later attempt of the same run: one may long have begun elsewhere, when this process was suspended.

The main process waits for the database a few seconds only: one that hangs would otherwise hang the whole
worker, and with it the kill of a child that is over its time limit.
"""

import logging
import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from billiard.exceptions import WorkerLostError
from celery.worker.request import Request
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from jobledger.jobs import registry
from jobledger.models import Reason, Run, Status, Why
from jobledger.runs.dispatch import run_id_of, worker_process
from jobledger.runs.execution.forks import write_between_forks
from jobledger.runs.lease import rescue

logger = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS = 5.0
LONGEST_TRYING_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What the main process knows of a child that is gone."""

    task_id: str
    child: str
    error: str = ""
    """What Celery says of the death; empty where the child was killed at its hard time limit."""
    noticed_at: datetime = field(default_factory=timezone.now)


class JobRequest(Request):
    """A message under execution, as Celery keeps it in the main process: it knows the child that has it."""

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        """Celery's hard time limit: the child is killed."""
        if not soft:
            _record(Loss(task_id=self.id, child=_child(self)))
        super().on_timeout(soft, timeout)

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """The task failed, or its process died."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, WorkerLostError):
            _record(Loss(task_id=self.id, child=_child(self), error=str(error) or type(error).__name__))
        return super().on_failure(exc_info, *args, **kwargs)


def end_run_of(loss: Loss) -> None:
    """End the run of this task if this child is the process that has it."""
    try:
        write_between_forks(lambda: _end_run_of(loss), within_seconds=LONGEST_TRYING_SECONDS)
    except (DatabaseError, InterfaceError):
        logger.exception("The loss of run %s could not be recorded; its lease will show it", loss.task_id)


def _end_run_of(loss: Loss) -> None:
    pk = run_id_of(loss.task_id)
    run = Run.objects.filter(pk=pk, status=Status.RUNNING, worker=loss.child).first()
    if run is not None:
        timed_out = not loss.error or rescue.is_over_its_grace(run, loss.noticed_at)
        rescue.give_up(run, _why(run, loss), error=loss.error, timed_out=timed_out)


def _why(run: Run, loss: Loss) -> Why:
    if loss.error:
        return Why.of(Reason.LOST_PROCESS, worker=loss.child)
    limit = registry.declaration_of(run.job).time_limit
    return Why.of(Reason.TIME_LIMIT, limit_seconds=limit, killed_by="worker")


def _record(loss: Loss) -> None:
    thread = threading.Thread(target=end_run_of, args=[loss], name=f"loss of {loss.task_id}", daemon=True)
    thread.start()
    # As a rule it is done in no time, before the message is acknowledged.
    thread.join(LONGEST_WAIT_SECONDS)


def _child(request: Request) -> str:
    return worker_process(request.hostname, request.worker_pid)
