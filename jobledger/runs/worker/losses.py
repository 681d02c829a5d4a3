"""What the main process knows of a child that has died, and what becomes of a run that it had not begun.

Of such a run, nothing has been executed, so it is queued again. But it may be what kills the processes: what
its job declares is executed before the job, such as ``concurrency_key``, and so are the project's own signal
handlers. So it is published later each time, and after ``MAX_DEATHS`` it fails.
"""

import re
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from celery.app.task import Context
from django.db import transaction

from jobledger import clock
from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.models import Reason, Run, Status, Why
from jobledger.runs import overlap
from jobledger.runs.identity import IDENTITY
from jobledger.runs.outcome import signal_name
from jobledger.runs.processes.process_tree import Processes
from jobledger.runs.publishing import publisher, wake_up
from jobledger.runs.publishing.intervals import publish_interval
from jobledger.runs.received import attempt_of, run_of

logger = line_logger(__name__)

MAX_DEATHS = 10
"""Some minutes' worth: what kills any process, such as a machine without memory, may be over by then."""

_SIGNAL = re.compile(r"\bsignal (\d+)")
_EXIT_CODE = re.compile(r"\bexitcode (\d+)")


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What the main process knows about the death of a child."""

    task_id: str
    child: str
    error: str = ""
    """Celery's description; empty if the child was killed at its hard time limit."""
    exit_signal: str = ""
    """The signal that ended the child; empty if it exited by itself."""
    ran_out_of_memory: bool = False
    """Whether the kernel killed the child for want of memory."""
    orphans: Processes = field(default_factory=set)
    """The processes that the child's job has started and that are still running."""
    message: Context | None = None
    """The message, which is acknowledged now, whatever the child has made of it."""
    task: str = ""
    """The task that the message names."""
    noticed_at: float = field(default_factory=time.monotonic)
    """Monotonic, because the database may not be available to tell the time."""

    @property
    def pid(self) -> int:
        """Of the child."""
        return int(self.child.rpartition(":")[2])

    @property
    def exit_code(self) -> int | None:
        """The code with which the child has exited by itself, such as by ``os._exit``."""
        found = _EXIT_CODE.search(self.error)
        return int(found[1]) if found else None


def exit_signal_in(error: str) -> str:
    """Celery's pool knows the exit code, but hands on nothing but this description."""
    found = _SIGNAL.search(error)
    return signal_name(int(found[1])) if found else ""


def undo_claim(pk: UUID, loss: Loss) -> bool:
    """Queue the run again if the child, which has not begun it, has nevertheless claimed it.

    Returns False if the claim is not there, or the run is to be cancelled.
    """
    with transaction.atomic():
        # The database may be committing the claim, which nobody waits for any more.
        run = Run.objects.select_for_update().filter(pk=pk, cancel_requested_at=None).first()
        if run is None or run.status != Status.RUNNING:
            return False
        if (run.worker, run.worker_identity) != (loss.child, IDENTITY):
            return False
        times = {"started_at": None, "heartbeat_at": None}
        nobody = {"worker": "", "worker_identity": "", "concurrency_key": ""}
        if not _queue_again(run, loss, status=Status.QUEUED, **times, **nobody):
            return False
        overlap.wake(run.concurrency_key, at_once=False)
    return True


def publish_unclaimed(pk: UUID, loss: Loss, *, is_claiming: bool) -> bool:
    """If the child had not yet claimed the run, nor even recorded a call, have beat publish it once more.

    ``is_claiming`` if the child was about to claim it. Returns False if the run is not queued for the child.
    """
    message, job = loss.message, registry.of_task(loss.task)
    if message is not None and job is not None:
        run_of(message, job)
    with transaction.atomic():
        run = Run.objects.select_for_update().filter(pk=pk).first()
        # A child has made it wait for another run.
        if run is None or run.status != Status.QUEUED or run.reason == Reason.OVERLAP:
            return False
        # A child has queued it again after an earlier attempt.
        if not is_claiming and message is not None and attempt_of(message) != run.attempt:
            return False
        return _queue_again(run, loss)


def _queue_again(run: Run, loss: Loss, **changes: Any) -> bool:
    """Have it published again, the later the more processes it may have killed, or let it fail at last.

    Returns False if it is no longer as it was read.
    """
    deaths, now = run.deaths_before_start + 1, clock.now()
    delay = min(timedelta(seconds=2 ** (deaths - 1) - 1), publish_interval(1))
    again_at = max(now + delay, run.start_after or now)
    # Not later than it would be anyway.
    publish_after = min(again_at, run.publish_after or again_at)
    # As if for the first time. Otherwise, it might be taken for one whose message is still in its queue.
    planned = {"publish_after": publish_after, "publish_count": 0, "deaths_before_start": deaths}
    as_read = Run.objects.filter(pk=run.pk, attempt=run.attempt, worker=run.worker)
    if not as_read.in_state(Status(run.status)).update(**{**planned, **changes}):
        return False
    if deaths >= MAX_DEATHS:
        return publisher.fail(run, loss.error, why=_why_never_began(deaths, loss))
    wake_up.beats()
    logger.warning("%s has died before it began run %s, which is published again", loss.child, run.pk)
    return True


def _why_never_began(deaths: int, loss: Loss) -> Why:
    return Why.of(
        Reason.NEVER_BEGAN,
        deaths=deaths,
        worker=loss.child,
        signal=loss.exit_signal,
        exit_code=loss.exit_code,
        out_of_memory=loss.ran_out_of_memory or None,
    )
