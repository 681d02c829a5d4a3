"""Kills a child that goes on with a run which has ended elsewhere, for example because its lease ended.

Usually, the child notices that itself and interrupts its job. It cannot while its job has stopped the process
(SIGSTOP), or executes C code that keeps the interpreter's lock. Without a time limit, such a job would hold
its place in the pool forever.

A thread looks into the ledger from time to time, but only while there are runs older than a lease. The main
loop kills, since there a child that has not returned its task cannot have been given another one.
"""

import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from weakref import WeakKeyDictionary

from celery.worker import state
from django.db import Error

from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.models import Run, Status
from jobledger.runs import limits
from jobledger.runs.dispatch import run_id_of
from jobledger.runs.identity import IDENTITY
from jobledger.runs.processes import shared_process
from jobledger.runs.processes.forks import between_forks, close_connections
from jobledger.runs.service.pulse import pulse
from jobledger.runs.worker import orphans
from jobledger.runs.worker.main_process import JobRequest, child_of

logger = line_logger(__name__)

LOOK_SECONDS = 10.0
_READ = ("job", "status", "worker", "worker_identity", "time_limit", "time_limit_grace")
MARGIN_SECONDS = 20.0
"""Besides the grace period: for the child to notice, to end the job's processes and to store its result."""


class Watch:
    """Looks after the children of this worker that have been executing a run for longer than a lease."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._look_at = 0.0
        self._kill_at: WeakKeyDictionary[JobRequest, float] = WeakKeyDictionary()
        """When to kill the child whose run is known to be over, or to be somebody else's."""

    def beat(self, **kwargs: object) -> None:
        """To be called in the main loop, often."""
        if shared_process.is_shared():
            return
        now = self._monotonic()
        requests = [each for each in state.active_requests if _is_older_than_a_lease(each, now)]
        for request in requests:
            if now > self._kill_at.get(request, now):
                self._kill(request)
        if requests and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            _in_thread(partial(self.look, requests))

    def look(self, requests: Iterable[JobRequest]) -> None:
        """Find out whose run is over. If the database does not answer, none is."""
        try:
            with between_forks():
                for request in requests:
                    run = _run_of(request)
                    if _is_owned(run, request):
                        # It may have had to wait for the database before it could claim the run.
                        self._kill_at.pop(request, None)
                    else:
                        self._kill_at.setdefault(request, self._monotonic() + _patience_seconds(run, request))
        except Error as error:
            logger.debug("Could not look for abandoned runs: %s", error)
        finally:
            close_connections()

    def _kill(self, request: JobRequest) -> None:
        self._kill_at.pop(request, None)
        text = "Run %s is over, but %s has not ended its job: killing it"
        logger.warning(text, run_id_of(request.id), child_of(request))
        orphans.kill_child(request.worker_pid)


def _in_thread(work: Callable[[], None]) -> None:
    """Do not wait: the database may not answer."""
    threading.Thread(target=work, name="abandoned runs", daemon=True).start()


def connect() -> None:
    """Watch in this worker's main process from now on, if it has children."""
    pulse.connect(Watch().beat, weak=False, dispatch_uid="jobledger.abandoned")


def _is_older_than_a_lease(request: object, now: float) -> bool:
    accepted_at = request.accepted_at if isinstance(request, JobRequest) else None
    return accepted_at is not None and now - accepted_at > settings.LEASE_SECONDS


def _patience_seconds(run: Run | None, request: JobRequest) -> float:
    """From when the run is known to be over. Its row may have been deleted."""
    job = registry.of_task(request.name)
    found = limits.of_run(run or Run(job=job.name if job else ""))
    return found.grace.total_seconds() + settings.HEARTBEAT_SECONDS + MARGIN_SECONDS


def _run_of(request: JobRequest) -> Run | None:
    return Run.objects.filter(pk=run_id_of(str(request.id))).only(*_READ).first()


def _is_owned(run: Run | None, request: JobRequest) -> bool:
    if run is None or run.status != Status.RUNNING:
        return False
    return (run.worker, run.worker_identity) == (child_of(request), IDENTITY)
