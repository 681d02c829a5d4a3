"""The pool of a worker that executes jobs in threads of its main process (``--pool threads``).

Each task has a new thread, which ends with it: nothing that belongs to a thread, such as a database
connection or a local variable of it, reaches the next job, and no interrupt comes too late to hit the right
one.

A warm shutdown waits for the tasks that have begun, which are cancelled when ``SHUTDOWN_GRACE_SECONDS`` are
over; the messages of the others go to other workers. A cold one cancels them at once. A thread cannot be
killed, so if all that are left have not ended within their grace period, the ends of their runs are recorded
and the process exits, as a worker's child does with a job that does not end.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from celery.concurrency.base import BasePool, apply_target
from celery.signals import worker_shutdown
from celery.worker import state
from django.db import connections

from jobledger.escapes import line_logger
from jobledger.jobs import registry
from jobledger.models import Reason, Why
from jobledger.runs import ledger_connection
from jobledger.runs.execution import terminal
from jobledger.runs.lease.interrupts import JobCancelled
from jobledger.runs.lease.termination import TIMERS
from jobledger.runs.output import capture
from jobledger.runs.processes import job_threads
from jobledger.runs.processes.multiprocessing_internals import is_idle
from jobledger.runs.worker.main_process import cancel_all
from jobledger.tracing import spans

logger = line_logger(__name__)

LOOK_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What is to be executed."""

    work: Callable[[], object]
    is_job: bool
    """Whether it can be ended."""


class TaskPool(BasePool):
    """Executes each task in a thread of its own, ``limit`` at a time."""

    hostname = ""
    """The name of the worker that uses it."""
    body_can_be_buffer = True
    signal_safe = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # A signal handler may stop the pool while its thread is adding a task.
        self._lock = threading.RLock()
        self._waiting: deque[_Task] = deque()
        self._running: dict[threading.Thread, _Task] = {}
        self._is_closed = False

    def on_start(self) -> None:
        """Celery has set up its logging before."""
        # First, since its own threads are not those of a job.
        spans.set_up()
        terminal.take_away()
        ledger_connection.share()
        job_threads.begin()
        capture.share()
        worker_shutdown.connect(self._leave, weak=False, dispatch_uid="jobledger.thread_pool")

    def on_apply(
        self,
        target: Callable[..., Any],
        args: Any = None,
        kwargs: Any = None,
        callback: Any = None,
        accept_callback: Any = None,
        **options: Any,
    ) -> None:
        work = partial(apply_target, target, args, kwargs, callback, accept_callback)
        # The first argument is the task's name.
        task = _Task(work=work, is_job=bool(args) and registry.of_task(str(args[0])) is not None)
        with self._lock:
            self._waiting.append(task)
        self._start_next()

    def maintain_pool(self, *args: Any, **kwargs: Any) -> None:
        """The worker calls it from time to time: start what could not be started before."""
        self._start_next()

    def grow(self, n: int = 1) -> None:
        """For autoscaling."""
        self.limit += n
        self._start_next()

    def shrink(self, n: int = 1) -> None:
        """Tasks that have begun are not affected."""
        self.limit -= n

    def terminate_job(self, pid: object, signal: object = None) -> None:
        """Nothing: all have the same process. A run that is revoked is cancelled, which ends its job."""

    def on_close(self) -> None:
        """Start nothing more."""
        with self._lock:
            self._is_closed = True
            self._waiting.clear()

    def on_stop(self) -> None:
        """Wait for what has begun, except jobs that do not end when they should."""
        # A cold shutdown begins with this, in the handler of its signal.
        if vars(state)["should_terminate"]:  # which Celery's stubs take for None
            self.on_terminate()
            return
        self.on_close()
        while self.running.keys() - self._overdue():
            time.sleep(LOOK_SECONDS)

    def on_terminate(self) -> None:
        """Cancel all jobs, and wait for them. Nothing ends ordinary tasks."""
        self.on_close()
        # For those that have processes of their own.
        threading.Thread(target=cancel_all, args=[self.hostname], daemon=True).start()
        why = Why.of(Reason.WORKER_SHUTDOWN, worker=self.hostname)
        for each in TIMERS.members:
            each.begin(JobCancelled(why, run_id=each.run_id))
        while self._has_jobs():
            time.sleep(LOOK_SECONDS)

    @property
    def running(self) -> dict[threading.Thread, _Task]:
        """The tasks that have begun, by their threads."""
        with self._lock:
            return dict(self._running)

    @property
    def info(self) -> dict[str, Any]:
        """For ``celery inspect stats``."""
        return {**super().info, "threads": len(self.running)}

    def _start_next(self) -> None:
        with self._lock:
            if not self._waiting or self._is_closed or len(self._running) >= self.limit:
                return
            task = self._waiting.popleft()
            # Its job's threads inherit that it is no daemon: the run waits for them, as in any other worker.
            thread = threading.Thread(target=self._execute, args=[task], name="task", daemon=False)
            self._running[thread] = task
        try:
            # Not in the context of the job whose end lets this one begin.
            Context().run(thread.start)
        except RuntimeError as error:
            logger.warning("A task has to wait: %s", error)
            with self._lock:
                del self._running[thread]
                self._waiting.appendleft(task)

    def _execute(self, task: _Task) -> None:
        try:
            task.work()
        except Exception:
            logger.exception("A task could not be executed")
        finally:
            with suppress(Exception):
                connections.close_all()
            with self._lock:
                del self._running[threading.current_thread()]
            self._start_next()

    def _has_jobs(self) -> bool:
        """Whether there are jobs that may still end."""
        running, overdue = self.running, self._overdue()
        return any(task.is_job for thread, task in running.items() if thread not in overdue)

    def _overdue(self) -> set[threading.Thread]:
        """Those of which each run, the job's and those of jobs that it has called, should have ended."""
        runs = TIMERS.members
        overdue = {each.thread_id for each in runs if each.is_overdue}
        overdue -= {each.thread_id for each in runs if not each.is_overdue}
        return {each for each in self.running if each.ident in overdue}

    def _leave(self, sender: Any = None, **kwargs: object) -> None:
        """The worker has shut down. Python would wait for threads that jobs have left behind."""
        spans.flush()
        others = [each for each in threading.enumerate() if each is not threading.main_thread()]
        # Python ends the idle threads of executors.
        if self.running or any(not (each.daemon or is_idle(each)) for each in others):
            exit_at_once(getattr(sender, "exitcode", None))


def exit_at_once(exitcode: object) -> NoReturn:
    """Record the ends of runs whose jobs go on, and end them with the process."""
    for each in TIMERS.members:
        if each.is_overdue:
            each.record_kill()
    for stream in sys.stdout, sys.stderr:
        with suppress(Exception):
            stream.flush()
    os._exit(exitcode if isinstance(exitcode, int) else os.EX_OK)
