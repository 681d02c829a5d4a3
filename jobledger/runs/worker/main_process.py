"""What a worker's main process does for the runs of its child processes.

If a child dies, the main process ends the run that the child was executing, but not a later attempt of the
same run, which may have started elsewhere if this process was suspended. It also stores the result of the
task, which says how the run has ended, as that of a child would. If Celery discards a message,
because its task was revoked (``celery control revoke``) or it has expired, that is recorded on its run: a
revoked run would otherwise stay queued, and be published and discarded again and again. On shutdown, it
cancels the runs that would outlast the grace period.

It waits for the database for only a few seconds: an unresponsive database would otherwise block the whole
worker, and prevent it from killing a child that has exceeded its time limit. A thread goes on waiting.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery.app.task import Context
from celery.exceptions import Ignore
from celery.signals import task_failure, task_revoked, worker_ready, worker_shutting_down
from celery.worker.request import Request
from celery.worker.state import revoked
from django.db import Error

from jobledger import clock
from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.formats import size
from jobledger.jobs import registry
from jobledger.models import Reason, Run, Status, Stream, Trigger, Why
from jobledger.runs import attempts, limits, overlap, reasons
from jobledger.runs.dispatch import run_id_of
from jobledger.runs.execution import handover, isolation
from jobledger.runs.execution.run_end import MAX_OUTAGE_SECONDS
from jobledger.runs.identity import IDENTITY, worker_process
from jobledger.runs.lease import rescue
from jobledger.runs.lease.heartbeat import OutputLog
from jobledger.runs.outcome import Outcome, outcome_of_exit_code
from jobledger.runs.output import salvage
from jobledger.runs.output.recorder import last_saved_line
from jobledger.runs.output.salvage import Salvaged
from jobledger.runs.processes import billiard_internals, leftovers, oom, process_tree, resources
from jobledger.runs.processes.forks import write_between_forks
from jobledger.runs.processes.process_tree import Processes
from jobledger.runs.processes.resources import Usage
from jobledger.runs.publishing import delivery
from jobledger.runs.received import run_of
from jobledger.runs.results import JobFailedError, result_of
from jobledger.runs.worker import orphans
from jobledger.runs.worker.losses import Loss, exit_signal_in, publish_unclaimed, undo_claim
from jobledger.runs.worker.messages.requests import MaskedRequest

logger = line_logger(__name__)

MAX_WAIT_SECONDS = 5.0
# Many messages may have expired by the time that the database fails.
MAX_DISCARD_WAIT_SECONDS = 0.5
MAX_CANCEL_SECONDS = 5.0
MAX_RETRY_SECONDS = 20.0
REVOKED = "celery control revoke"

_oom_kills = oom.KillCounter()
_busy = billiard_internals.BusyChildren()

Result = dict[str, Any] | Exception
"""Of a task: its value, or why it has none."""


class JobRequest(MaskedRequest):
    """The message of a job that is being executed; it knows which child is executing it.

    Time limits of the message itself are ignored. They would end the task anywhere, even while its run is
    being claimed or its end recorded; a job's own ``time_limit`` ends only the job. The message of a run
    whose schedule has a time limit carries the hard limit that follows from it, in place of the job's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hard_limit, _ = self.time_limits
        self.time_limits = (hard_limit if delivery.RUN_HEADER in self.request_dict else None, None)
        self._oom_kills_before: int | None = None
        self._is_lost = False
        self.accepted_at: float | None = None
        """When a child has begun to execute it, in monotonic time."""

    def on_accepted(self, *args: Any, **kwargs: Any) -> None:
        """A child has begun to execute the task."""
        self._oom_kills_before = oom.kills()
        self.accepted_at = time.monotonic()
        super().on_accepted(*args, **kwargs)
        _busy.add(self.worker_pid)
        # It may have been sent to the child before, which recorded the end of another run.
        if self.id in revoked:
            _discarded(sender=self.task, request=self.context)

    def on_timeout(self, soft: bool, timeout: float) -> None:  # noqa: FBT001 - Celery's signature
        """Celery's hard time limit: the child is killed."""
        if soft:
            super().on_timeout(soft, timeout)
            return
        # Celery would kill it later, and without its processes.
        orphans.kill_child(self.worker_pid)
        adopted = orphans.adopted()
        self._end(Loss(task_id=self.id, child=child_of(self), exit_signal="SIGKILL", orphans=adopted))

    def acknowledge(self) -> None:
        """The child has returned a result, which may be a failure, or was lost.

        Celery makes a subclass of this one whose ``on_success`` does not call that of this one.
        """
        if not self._is_lost:
            _busy.discard(self.worker_pid)
        super().acknowledge()

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """The task failed, or its process died."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)
        if isinstance(error, TimeLimitExceeded):
            return None  # `on_timeout` follows, and knows more
        if isinstance(error, WorkerLostError):
            _busy.discard(self.worker_pid)
            return self._end(self._loss(str(error) or type(error).__name__))
        return super().on_failure(exc_info, *args, **kwargs)

    def _end(self, loss: Loss) -> None:
        """End the run of a child that has died, and finish the task as if the child had returned a result."""
        self._is_lost = True
        results: list[Result] = []
        _in_thread(lambda: results.append(self._clean_up_after(loss)), f"loss of {self.id}")
        # If it takes longer, only Celery's event does not say how the run has ended.
        result = results[0] if results else JobFailedError(loss.error)
        if isinstance(result, Exception):
            # Celery neither stores nor logs a failure that a child has returned.
            super().on_failure(_exception_info(result), return_ok=True)
        else:
            super().on_success((False, result, None))

    def _clean_up_after(self, loss: Loss) -> Result:
        # In this order, because the run may start again as soon as its loss is recorded.
        daemons = orphans.end(loss.orphans)
        result = end_run_of(replace(loss, orphans=daemons, message=self.context, task=self.name))
        try:
            self._store(result)
        except Exception as error:  # noqa: BLE001 - a result backend may raise anything
            logger.warning("The result of run %s could not be stored: %s", self.id, error)
        return result

    def _store(self, result: Result) -> None:
        backend, context = self.task.backend, self.context
        if not isinstance(result, Exception):
            backend.mark_as_done(self.id, result, request=context)
        elif not isinstance(result, Ignore):
            backend.mark_as_failure(self.id, result, request=context, store_result=self.store_errors)
            facts = {"exception": result, "args": self.args, "kwargs": self.kwargs, "traceback": None}
            task_failure.send(sender=self.task, task_id=self.id, einfo=_exception_info(result), **facts)

    def _loss(self, error: str) -> Loss:
        exit_signal = exit_signal_in(error)
        return Loss(
            task_id=self.id,
            child=child_of(self),
            error=error,
            exit_signal=exit_signal,
            ran_out_of_memory=exit_signal == "SIGKILL"
            and _oom_kills.explains_death(kills_before=self._oom_kills_before),
            orphans=orphans.adopted(),
        )


def end_run_of(loss: Loss) -> Result:
    """End the task's run, if it is the child that was executing it, and save the rest of its output.

    The daemons among the processes that its job has started are named on the run. Returns the task's result.
    """
    pk = run_id_of(loss.task_id)
    salvaged = salvage.salvaged(pk)
    is_unbegun = salvaged is None and salvage.was_claiming(pk)
    results: list[Result] = []

    def write() -> None:
        if not (is_unbegun and undo_claim(pk, loss)):
            _end_run_of(loss, salvaged, is_unbegun=is_unbegun)
        results.append(_result_of(pk))

    # The job has ended, and is not to be lost for want of a database.
    seconds = MAX_OUTAGE_SECONDS if salvaged is not None and salvaged.outcome else MAX_RETRY_SECONDS
    try:
        write_between_forks(write, within_seconds=seconds)
    except Error:
        logger.exception("Could not record the loss of run %s; it is lost when its lease ends", loss.task_id)
        return JobFailedError(loss.error)
    return results[0]


def _result_of(pk: UUID) -> Result:
    run = Run.objects.filter(pk=pk).first()
    try:
        return result_of(run, last_saved_line(run, *Stream) if run else "")
    except (Ignore, JobFailedError) as error:
        return error


def connect() -> None:
    """From now on, cancel runs that are revoked or would outlast the grace period of a shutdown."""
    _busy.begin()
    worker_shutting_down.connect(_shutting_down, dispatch_uid="jobledger.worker.shutting_down")
    task_revoked.connect(_discarded, dispatch_uid="jobledger.worker.discarded")
    worker_ready.connect(_warn_of_replacements, dispatch_uid="jobledger.worker.replacements")


def _end_run_of(loss: Loss, salvaged: Salvaged | None, *, is_unbegun: bool) -> None:
    pk = run_id_of(loss.task_id)
    if daemons := {each for each in loss.orphans if process_tree.run_id_of(each) in ("", str(pk))}:
        _name_on_run(pk, daemons)
    has_exited = salvaged is not None and salvaged.was_job_running
    for called in rescue.called_by(pk, ended=loss.pid):
        # Another process than the child was ended for it.
        is_here = rescue.is_called_in(loss.pid, called)
        _end_with_process(called, loss, None, has_exited=has_exited and is_here)
    # Another attempt has another worker, or none yet.
    run = Run.objects.filter(pk=pk, worker=loss.child, worker_identity=IDENTITY).first()
    if run is not None and salvaged is not None:
        OutputLog(run, salvaged.recorder).save_remaining()
    if run is None or run.status != Status.RUNNING:
        if salvaged is not None or not publish_unclaimed(pk, loss, is_claiming=is_unbegun):
            _log_earlier_end(pk, loss.child)
        return
    if salvaged is not None and (handed_over := handover.received(salvaged.outcome)) is not None:
        attempts.end(run, handed_over, publish_now=False)
        return
    _end_with_process(run, loss, salvaged.usage if salvaged else None, has_exited=has_exited)


def _end_with_process(run: Run, loss: Loss, usage: Usage | None, *, has_exited: bool) -> None:
    """``has_exited`` if the job has ended its process itself, should that have exited."""
    exit_code = loss.exit_code
    if exit_code is not None and has_exited:
        _end_as_job_did(run, outcome_of_exit_code(exit_code), usage)
        return
    rescue.give_up(
        run,
        _why(run, loss),
        error=loss.error,
        exit_signal=loss.exit_signal,
        usage=usage,
        timed_out=not loss.error or rescue.is_past_grace_period(run, _time_of(loss)),
    )


def _end_as_job_did(run: Run, outcome: Outcome, usage: Usage | None) -> None:
    """End the run of a job that has ended its child itself, as it would have ended a process of its own."""
    ended = isolation.with_error(run, replace(outcome, usage=usage))
    attempts.end(run, ended, publish_now=False)


def _log_earlier_end(pk: UUID, child: str) -> None:
    """The child has recorded the end, and then killed itself; or somebody else has, since it had no lease."""
    run = Run.objects.filter(pk=pk).first()
    if run is None or not Status(run.status).is_final:
        logger.warning("%s has died; run %s no longer belonged to it", child, pk)
        return
    why = reasons.explanation(run) or "It was not affected."
    text = "Run %s of %s ended as %s before its process, %s, died. %s"
    logger.warning(text, pk, run.job, run.status, child, why)


def _name_on_run(pk: UUID, daemons: Processes) -> None:
    """Also if the child has already recorded the end of the run, just before it killed itself."""
    if run := Run.objects.filter(pk=pk).first():
        leftovers.record(run, process_tree.as_leftovers(daemons))


def _time_of(loss: Loss) -> datetime:
    return clock.now() - timedelta(seconds=time.monotonic() - loss.noticed_at)


def _why(run: Run, loss: Loss) -> Why:
    if loss.error:
        if loss.ran_out_of_memory:
            return Why.of(Reason.OUT_OF_MEMORY, worker=loss.child)
        return Why.of(Reason.LOST_PROCESS, worker=loss.child, exit_code=loss.exit_code)
    return limits.of_run(run).exceeded(killed_by="worker")


def _exception_info(error: Exception) -> ExceptionInfo:
    try:
        raise error
    except Exception:  # noqa: BLE001 - it is the one
        return ExceptionInfo()


def _warn_of_replacements(sender: Any = None, **kwargs: Any) -> None:
    """Celery replaces a child that holds too much memory, without telling."""
    limit_kib = getattr(getattr(sender, "controller", None), "max_memory_per_child", None)
    used = resources.memory_of_this_process()
    if limit_kib and used > limit_kib * 1024:
        text = "Children are replaced after every task: they may hold %s each (%s), but need %s to start"
        logger.warning(text, size(limit_kib * 1024), "worker_max_memory_per_child", size(used))


def _in_thread(work: Callable[[], None], name: str, *, wait_seconds: float = MAX_WAIT_SECONDS) -> None:
    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    # Usually it finishes immediately, and before the message is acknowledged.
    thread.join(wait_seconds)


def record_discarded(message: Context, job: registry.Job, *, is_revoked: bool) -> None:
    """Record a message that Celery has discarded, even if it is the first to be heard of it.

    The run of a revoked task is cancelled; if it is running, its process is being killed. That of an expired
    message has the same deadline, so it expires; a run that is there already keeps its own.
    """
    try:
        write_between_forks(
            lambda: _record_discarded(message, job, is_revoked=is_revoked), within_seconds=MAX_RETRY_SECONDS
        )
    except Error:
        what = "was revoked" if is_revoked else "has expired"
        logger.exception("The message of run %s %s, but this could not be recorded", message.id, what)


def _record_discarded(message: Context, job: registry.Job, *, is_revoked: bool) -> None:
    run = run_of(message, job)
    if run is not None and is_revoked:
        why = Why.of(Reason.USER, trigger=Trigger.CELERY, comment=REVOKED)
        overlap.request_cancel(run, why, clock.now())


def _discarded(sender: Any = None, request: Any = None, expired: bool = False, **kwargs: Any) -> None:  # noqa: FBT001, FBT002 - Celery's signature
    """A message was revoked, or has expired; usually, Celery discards it."""
    if job := registry.of_task(sender.name):
        record = partial(record_discarded, request, job, is_revoked=not expired)
        _in_thread(record, "discarded", wait_seconds=MAX_DISCARD_WAIT_SECONDS)


def child_of(request: Request) -> str:
    return worker_process(request.hostname, request.worker_pid)


def _shutting_down(sender: Any = None, how: str = "", **kwargs: Any) -> None:
    """End runs cleanly before the worker is killed, because a warm shutdown waits without a limit."""
    timer = threading.Timer(settings.SHUTDOWN_GRACE_SECONDS, cancel_all, args=[str(sender)])
    timer.daemon = True
    timer.start()


def cancel_all(hostname: str) -> None:
    """Cancel all runs of this worker's jobs, since it is to end."""

    def request_cancel() -> None:
        owned = Run.objects.filter(status=Status.RUNNING, worker_identity=IDENTITY)
        owned = owned.filter(job__in=registry.all_jobs())  # nothing ends an ordinary task
        why = Why.of(Reason.WORKER_SHUTDOWN, worker=hostname)
        owned.filter(cancel_requested_at=None).update(cancel_requested_at=clock.now(), **why.columns)

    try:
        write_between_forks(request_cancel, within_seconds=MAX_CANCEL_SECONDS)
    except Error:
        logger.exception("Could not cancel the runs of %s", hostname)
