"""The recorder: creates the run of a wrapped line, and saves its output, its heartbeats and its end.

Whatever cannot be written is tried again, as long as the line runs and for a lease after it has ended. A run
whose relay was killed is lost. If a job on the line continues the run, it also ends it, as it knows best why,
and decides what happens to a cancel; the output remains that of the whole line.
"""

import codecs
import os
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

import psutil
from django.db import Error

from jobledger import clock
from jobledger.conf import settings
from jobledger.jobs import secrets
from jobledger.models import LIVE, Reason, Run, Status, Stream, Trigger, Why
from jobledger.outages import is_outage
from jobledger.runs import attempts, dispatch
from jobledger.runs.identity import command_line_process, operating_system_user
from jobledger.runs.lease.heartbeat import OUTPUT_SECONDS, OutputLog, pending_interrupt
from jobledger.runs.lease.interrupts import JobCancelled
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.outcome import Outcome, outcome_of_exit_code, signal_name
from jobledger.runs.output.recorder import OutputRecorder
from jobledger.runs.processes.process_tree import end_all
from jobledger.runs.processes.resources import Usage
from jobledger.wrap import naming, unsent
from jobledger.wrap.relay import NOT_RECORDED, Ending, Task, warn
from jobledger.wrap.unsent import received

_STREAMS = {unsent.STDOUT: Stream.STDOUT, unsent.STDERR: Stream.STDERR}


GIVE_UP_SECONDS = 10.0
"""After a lease, for a statement that hangs."""


def record(task: Task) -> None:
    """Record the run until the line has ended, and for a lease after that at most."""
    recording = Recording(task)
    threading.Thread(target=recording.end_process_in_time, daemon=True).start()
    recording.run()


class Recording:
    """Of one line."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._reader = _Reader(task)
        self._run: Run | None = None
        self._log: OutputLog | None = None
        self._renew_at = 0.0
        self._is_cancelled = False

    def end_process_in_time(self) -> None:
        """To be called in a thread of its own."""
        self._reader.has_ended.wait()
        time.sleep(settings.LEASE_SECONDS + GIVE_UP_SECONDS)
        warn(f"{NOT_RECORDED}: the database does not answer")
        os._exit(1)

    def run(self) -> None:
        """What cannot be recorded is reported to syslog."""
        self._reader.start()
        interval = min(settings.HEARTBEAT_SECONDS, OUTPUT_SECONDS)
        is_over = False
        while not is_over:
            is_over = self._reader.has_ended.is_set()
            try:
                with ledger_connection():
                    self._end() if is_over else self._beat()
                    if is_over:
                        return
            except Error as error:
                if is_over:
                    self._retry_to_end(error)
                    return
            self._reader.has_ended.wait(interval)

    def _retry_to_end(self, error: Exception) -> None:
        until = time.monotonic() + settings.LEASE_SECONDS
        while is_outage(error) and time.monotonic() < until:
            time.sleep(settings.HEARTBEAT_SECONDS)
            try:
                with ledger_connection():
                    self._end()
                    return
            except Error as again:
                error = again
        warn(f"{NOT_RECORDED}: {error}")

    def _beat(self) -> None:
        run, log = self._begun()
        log.save_new()
        if time.monotonic() < self._renew_at:
            return
        owned = Run.objects.filter(pk=run.pk).in_state(Status.RUNNING)
        if not owned.filter(cancel_requested_at=None).update(heartbeat_at=clock.in_statement()):
            self._look_for_cancel(run)
        self._renew_at = time.monotonic() + settings.HEARTBEAT_SECONDS

    def _begun(self) -> tuple[Run, OutputLog]:
        if self._run is None or self._log is None:
            request = dispatch.RunRequest(
                job=naming.name_of(self._task.line),
                options=naming.options_of(self._task.line),
                trigger=Trigger.CRON,
                username=operating_system_user(),
            )
            self._run = dispatch.begin_line(
                naming.run_id_of(self._task.relay),
                request,
                worker=command_line_process(self._task.relay.pid),
                started_at=clock.now() - _ago(self._task.started),
            )
            self._log = OutputLog(self._run, self._reader.recorder)
        return self._run, self._log

    def _look_for_cancel(self, run: Run) -> None:
        """End the line if the run is cancelled, unless a job on it does so itself."""
        Run.objects.filter(pk=run.pk).in_state(Status.RUNNING).update(heartbeat_at=clock.in_statement())
        is_continued = Run.objects.filter(pk=run.pk).exclude(worker_identity="").exists()
        if self._is_cancelled or is_continued or not isinstance(pending_interrupt(run), JobCancelled):
            return
        self._is_cancelled = True
        threading.Thread(target=end_all, args=[self._processes], daemon=True).start()

    def _processes(self) -> set[psutil.Process]:
        """Those of the line. Neither this one nor a daemon is in its session."""
        with suppress(psutil.Error, OSError):
            session = os.getsid(self._task.relay.pid)
            found = psutil.Process(self._task.relay.pid).children(recursive=True)
            return {each for each in found if _session_of(each) == session}
        return set()

    def _end(self) -> None:
        run, log = self._begun()
        # Output before status: followers stop reading once the run has finished.
        log.save_remaining()
        outcome = self._outcome(run)
        if not attempts.end(run, outcome, publish_now=False):
            # A job on the line has ended it. It does not know what the rest of the line has used.
            used = outcome.usage.columns if outcome.usage else {}
            Run.objects.filter(pk=run.pk).exclude(status__in=LIVE).update(**used)

    def _outcome(self, run: Run) -> Outcome:
        ending = self._reader.ending
        if ending is None:
            why = Why.of(Reason.LOST_PROCESS, worker=run.worker)
            return Outcome(status=Status.LOST, why=why, exit_code=None)
        recorder = self._reader.recorder
        line = recorder.last_line if self._task.is_one_stream else recorder.last_error_line
        error = secrets.without_secrets(run.job, run.options, line) if ending.status else ""
        return _outcome_of(ending, error, ended_at=clock.now() - _ago(ending.ended))


class _Reader:
    """Reads what the relay sends, so that it never waits for the database."""

    def __init__(self, task: Task) -> None:
        self.recorder = OutputRecorder(settings.RUN_OUTPUT_LIMIT_BYTES)
        self.has_ended = threading.Event()
        self.ending: Ending | None = None
        """None, once the line has ended: the relay was killed."""
        self._task = task
        decoder = codecs.getincrementaldecoder("utf-8")
        self._decoders = {mark: decoder("replace") for mark in _STREAMS}

    def start(self) -> None:
        threading.Thread(target=self._read_all, name="output of the line", daemon=True).start()

    def _read_all(self) -> None:
        try:
            self._read()
        finally:
            self.has_ended.set()

    def _read(self) -> None:
        with os.fdopen(self._task.output, "rb") as output:
            for mark, data in received(output):
                if mark == unsent.OMITTED:
                    self.recorder.omit(int(data))
                elif mark in _STREAMS:
                    self.recorder.write(_STREAMS[mark], self._decoders[mark].decode(data))
        for mark, decoder in self._decoders.items():
            self.recorder.write(_STREAMS[mark], decoder.decode(b"", final=True))
        with os.fdopen(self._task.ending, "rb") as ending:
            self.ending = Ending.read(ending.read())


def _outcome_of(ending: Ending, error: str, *, ended_at: datetime) -> Outcome:
    usage = Usage(peak_memory_bytes=ending.peak_memory_bytes or None, cpu_seconds=ending.cpu_seconds)
    if not os.WIFSIGNALED(ending.status):
        outcome = outcome_of_exit_code(os.waitstatus_to_exitcode(ending.status))
        return replace(outcome, error=error, usage=usage, ended_at=ended_at)
    number = os.WTERMSIG(ending.status)
    name = signal_name(number)
    return Outcome(
        status=Status.FAILED,
        why=Why.of(Reason.SIGNAL, signal=name),
        exit_code=128 + number,
        exit_signal=name,
        error=error,
        usage=usage,
        ended_at=ended_at,
    )


def _session_of(process: psutil.Process) -> int:
    """Zero if it has ended."""
    try:
        return os.getsid(process.pid)
    except OSError:
        return 0


def _ago(monotonic: float) -> timedelta:
    return timedelta(seconds=time.monotonic() - monotonic)
