"""The heartbeat of a run: a thread that renews the lease and saves output and progress.

The thread starts once there may be something to save, which many a run does not live to see. It has its own
connection, which it keeps open while the job runs, and so is outside any transaction of the job. It saves new
output every second, and every few seconds updates ``heartbeat_at`` and the progress in one small statement.
That statement also checks that the run still belongs to this process and has not been cancelled; the row is
read only if it matches no row. Interrupting the job and enforcing its time limit are up to ``termination``.

If the database is unavailable, the next beat tries again.

Where runs are executed in threads (``shared_process``), one thread beats for all of them.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

from django.db import Error
from django.db.models import QuerySet
from django.db.models.functions import Now

from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.formats import duration
from jobledger.models import Reason, Run, Status, Stream, Why
from jobledger.runs import attempts
from jobledger.runs.lease.interrupts import Interrupter, JobCancelled, JobInterrupt, LeaseLost
from jobledger.runs.lease.memory_limit import MemoryWatch
from jobledger.runs.lease.termination import Recording, Termination
from jobledger.runs.ledger_connection import kept_open, ledger_connection
from jobledger.runs.limits import Limits
from jobledger.runs.outcome import Outcome
from jobledger.runs.output.recorder import OutputRecorder, save
from jobledger.runs.output.run_log import by_service
from jobledger.runs.processes import shared_process
from jobledger.runs.processes.forks import between_forks
from jobledger.runs.processes.process_tree import ProcessTree
from jobledger.runs.processes.resources import Meter
from jobledger.runs.processes.rounds import Rounds
from jobledger.tracing import spans

# So that users who follow a run see its output within two seconds.
OUTPUT_SECONDS = 1.0
FIRST_LOOK_SECONDS = 0.05

logger = line_logger(__name__)

Ticker = Callable[[Callable[[], float | None]], bool]
"""Has another thread call a function soon, and again as many seconds later as it returns, if any."""


def _by_nobody(function: Callable[[], float | None]) -> bool:
    return False


@dataclass(kw_only=True)
class Progress:
    """Written by the job, read by its heartbeat."""

    done: int | None = None
    total: int | None = None

    @property
    def columns(self) -> dict[str, int | None]:
        """For the run's row. Whatever the job counts, its heartbeat must not fail for that."""
        return {"progress_done": _storable(self.done), "progress_total": _storable(self.total)}


class OutputLog:
    """Saves the output of an attempt, in the order in which it was written."""

    def __init__(self, run: Run, recorder: OutputRecorder) -> None:
        self._run = run
        self._recorder = recorder
        self._lock = threading.Lock()

    @property
    def last_error_line(self) -> str:
        """The last line on stderr."""
        return self._recorder.last_error_line

    def note(self, text: str) -> None:
        """Add a line to the output, on stderr."""
        self._recorder.write(Stream.STDERR, f"{text}\n")

    def save_new(self) -> None:
        """Save new output. Whatever cannot be saved stays in the recorder for the next call."""
        with self._lock:
            while pieces := self._recorder.unsaved():
                save(self._run.pk, self._run.attempt, self._recorder.next_number, pieces)
                self._recorder.mark_saved(pieces)

    def save_remaining(self) -> None:
        """Save all remaining output after the job has finished."""
        self._recorder.close()
        self.save_new()


@dataclass(frozen=True, kw_only=True)
class _Overdue:
    """What is recorded of a job that has not ended in time."""

    run: Run
    log: OutputLog
    meter: Meter
    limits: Limits

    def note(self, interrupt: JobInterrupt) -> None:
        """Tell that a job which was to end goes on, in the log and in its output."""
        status, grace = interrupt.status.label.lower(), duration(self.limits.grace)
        text = (
            f"This run is to end as {status}, but its thread has not ended after {grace}. A thread cannot be "
            "killed: the run goes on until its thread ends."
        )
        logger.warning("Run %s of %s: %s", self.run.pk, self.run.job, text)
        self.log.note(text)

    def record_kill(self, interrupt: JobInterrupt) -> None:
        """Record the end of a job that did not stop in time, just before its process is killed."""
        why = interrupt.why.plus(killed_by="itself")
        outcome = Outcome(
            status=interrupt.status,
            why=why,
            exit_code=interrupt.exit_code,
            exit_signal="SIGKILL",
            usage=self.meter.usage(),
        )
        try:
            with by_service(), ledger_connection(), between_forks():
                self.log.save_remaining()
                attempts.end(self.run, outcome)
        except Error as failure:
            logger.warning("Could not record the end of run %s: %s", self.run.pk, failure)
        spans.flush()


class Heartbeat:
    """Beats from ``start`` to ``stop``."""

    def __init__(
        self,
        run: Run,
        log: OutputLog,
        interrupter: Interrupter,
        tree: ProcessTree,
        limits: Limits,
        meter: Meter,
    ) -> None:
        self.progress = Progress()
        self._run = run
        self._log = log
        self._meter = meter
        overdue = _Overdue(run=run, log=log, meter=meter, limits=limits)
        self.recording = Recording(kill=overdue.record_kill, overdue=overdue.note)
        self._termination = Termination(run.pk, interrupter, tree, limits, self.recording)
        # What a job needs that another one calls is unknown, if their process has more jobs.
        memory = None if shared_process.is_shared() else limits.memory_bytes
        self._memory_watch = MemoryWatch(run.pk, memory, self._termination, meter) if memory else None
        self._renew_at = 0.0
        self._interval = min(settings.HEARTBEAT_SECONDS, OUTPUT_SECONDS)
        self._pauses = _pauses(self._interval)
        self._is_new = True
        self._stopped = threading.Event()
        self.threads = list[threading.Thread]()
        """What beats: none for a run that is over before its first beat, or whose process has more runs."""

    def start(self, *, may_beat: bool = True, tick: Ticker = _by_nobody) -> None:
        """Enforce the limits and, if other threads can see the run, start beating.

        Until the first beat, ``tick`` may have another thread look what the run uses.
        """
        self._termination.start()
        if self._memory_watch is not None:
            self._memory_watch.start()
        if may_beat and shared_process.is_shared():
            HEARTBEATS.add(self)
        elif may_beat and not tick(self._look_or_beat):
            self._start_thread()

    def job_has_ended(self) -> None:
        """Enforce no limit and no cancel any more. If the process is being killed, wait for that."""
        if self._memory_watch is not None:
            self._memory_watch.stop()
        self._termination.stop()

    def stop(self) -> None:
        """Stop; if a beat is in progress, wait for it."""
        self.job_has_ended()
        self._stopped.set()
        HEARTBEATS.remove(self)
        for thread in self.threads[:]:
            if thread.ident is not None:
                thread.join()

    def save_progress(self) -> None:
        """Save the final progress, if the job reports any."""
        if self.progress.done is not None:
            _owned(self._run).update(**self.progress.columns)

    def renew_lease(self) -> None:
        """Try to renew the lease of a run whose job has finished but whose end cannot be recorded yet."""
        renew_lease(self._run)

    def beat(self) -> None:
        """Save new output and, if it is time, renew the lease and check for a cancel.

        The check happens even if the output cannot be saved, which may be because the run was deleted.
        """
        self._meter.look()
        try:
            self._log.save_new()
        finally:
            if time.monotonic() >= self._renew_at:
                self._renew()
                self._renew_at = time.monotonic() + settings.HEARTBEAT_SECONDS

    def look(self) -> float:
        """Beat, unless the run has only just begun; returns in how many seconds to do so again."""
        if self._is_new:
            self._is_new = False
        else:
            self._try_to_beat()
        return self._interval

    def _start_thread(self) -> None:
        """Raises RuntimeError, and changes nothing, if it cannot be started."""
        thread = threading.Thread(
            target=self._run_until_stopped, name=f"heartbeat of {self._run}", daemon=True
        )
        # Before it starts: it is none of the job's.
        self.threads.append(thread)
        try:
            thread.start()
        except RuntimeError:
            self.threads.remove(thread)
            raise

    def _run_until_stopped(self) -> None:
        with _in_thread_of_service():
            for pause in self._pauses:
                if not self._stopped.wait(pause):
                    self._meter.look()
            while not self._stopped.wait(self._interval):
                self._try_to_beat()

    def _try_to_beat(self) -> None:
        try:
            # The job may fork at any time.
            with ledger_connection(), between_forks():
                self.beat()
        except Error as error:
            logger.debug("Could not save the heartbeat of run %s: %s", self._run.pk, error)

    def _look_or_beat(self) -> float | None:
        """Look, and return in how many seconds to do so again; None if the beats' thread has started."""
        self._meter.look()
        if (pause := next(self._pauses, None)) is not None:
            return pause
        try:
            self._start_thread()
        except RuntimeError as error:  # the job has started as many as there may be
            with by_service():
                logger.debug("The heartbeat of run %s cannot start yet: %s", self._run.pk, error)
            return self._interval
        return None

    def _renew(self) -> None:
        owned = _owned(self._run)
        renewable = owned if self._termination.has_begun else owned.filter(cancel_requested_at=None)
        renewed = renewable.update(
            heartbeat_at=Now(),
            **self.progress.columns,
            **self._meter.usage().columns,
        )
        if renewed or self._termination.has_begun:
            return
        if (interrupt := pending_interrupt(self._run)) is not None:
            self._termination.begin(interrupt)


@contextmanager
def _in_thread_of_service() -> Iterator[None]:
    with by_service(), kept_open():
        yield


HEARTBEATS = Rounds[Heartbeat]("heartbeats", _in_thread_of_service)
"""Of the runs that are executed in threads."""


def renew_lease(run: Run) -> None:
    """Try to renew the lease of a run for which there is no heartbeat yet, or no more."""
    with suppress(Error), ledger_connection():
        _owned(run).update(heartbeat_at=Now())


def pending_interrupt(run: Run) -> JobInterrupt | None:
    """The interrupt to raise in this attempt: its run was cancelled, or no longer belongs to this process."""
    columns = _owned(run).values_list("cancel_requested_at", "reason", "reason_details").first()
    if columns is None:
        return LeaseLost(Why.of(Reason.LOST_HEARTBEAT), run_id=run.pk)
    requested_at, *why = columns
    return None if requested_at is None else JobCancelled(Why.read(*why), run_id=run.pk)


def _pauses(seconds: float) -> Iterator[float]:
    """Between looks, of which the first ones come soon, until the beats begin."""
    pause = FIRST_LOOK_SECONDS
    while pause < seconds:
        yield pause
        seconds -= pause
        pause *= 2


def _owned(run: Run) -> QuerySet[Run]:
    """The run, as long as it belongs to this process."""
    return Run.objects.filter(pk=run.pk, attempt=run.attempt).in_state(Status.RUNNING)


def _storable(count: object) -> int | None:
    """The number, within the range of its column; None for what is not a number."""
    try:
        return max(-(2**63), min(int(cast("float", count)), 2**63 - 1))
    except (TypeError, ValueError, OverflowError):
        return None
