"""Isolation: a run gets a process of its own, whose death harms no other run and is known exactly.

The process is forked from the worker's child, where everything is already imported, if that is safe: on
Linux, while there is no other thread, since a fork copies the locks of other threads but not the threads that
would release them. No heartbeat has started yet. The thread that reads the output of other runs is ended, and
the usual database connections are closed first; the service's own one is not used in the forked process.
Otherwise, a new interpreter is started, which takes as long as ``manage.py`` does. Until that has begun, the
worker's child renews the run's lease.

The process executes and records the run exactly as the worker's child would have done, with its own
heartbeat, limits and output. Then it reports to the child, which only waits. If it ends without reporting,
the child records how. If the child ends first, the kernel kills the process.
"""

import ctypes
import faulthandler
import os
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import NoReturn
from uuid import UUID

from django.db import Error

from jobledger.conf import settings
from jobledger.escapes import line_logger
from jobledger.jobs import secrets
from jobledger.models import Reason, Run, Status, Stream, Why
from jobledger.runs import attempts
from jobledger.runs.execution import handover
from jobledger.runs.lease import rescue
from jobledger.runs.lease.exit_signals import EXIT_SIGNALS, exit_on_signal
from jobledger.runs.lease.heartbeat import OutputLog
from jobledger.runs.ledger_connection import ledger_connection
from jobledger.runs.limits import Limits
from jobledger.runs.outcome import OUT_OF_MEMORY_EXIT_CODE, Outcome, outcome_of_exit_code, signal_name
from jobledger.runs.output import reader, salvage
from jobledger.runs.output.recorder import last_saved_line
from jobledger.runs.processes import leftovers, oom, process_group, process_tree
from jobledger.runs.processes.forks import close_connections, write_between_forks
from jobledger.runs.processes.leftovers import Leftover
from jobledger.runs.processes.resources import Usage
from jobledger.tracing import context, spans

logger = line_logger(__name__)

LAUNCH = """
import sys
sys.path[:] = {path!r}
import django
django.setup()
from jobledger.runs.execution import runner
from jobledger.runs.processes import process_group
from jobledger.runs.output import salvage
salvage.adopt({mailbox!r})
process_group.adopt({lifeline!r})
runner.execute_in_fresh_process({run_id!r}, parent={parent}, report_to={report_to})
"""
KILL_MARGIN = timedelta(seconds=7)
"""The process kills itself when its grace period is over, and may take five seconds to record that."""
RECORDING_SECONDS = 1.0
"""How often to look whether a process that has exceeded its time still waits to record the end of its run."""
START_SECONDS = 600.0
"""How long a new interpreter may take to begin. After that, it hangs, and its run is lost with its lease."""
STDERR = 2
_BEGUN = b"begun\n"
_REPORTED = b"ended\n"
_PR_SET_PDEATHSIG = 1
_MAX_POLL_MILLISECONDS = 2**31 - 1
_oom_kills = oom.KillCounter()


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a process ended."""

    report: str | None
    """What its work has returned; None if the process ended before."""
    status: int
    """As ``os.waitpid`` returns it."""
    pid: int
    usage: Usage
    timed_out: bool = False
    """Whether it was killed because it took too long."""
    ran_out_of_memory: bool = False

    @property
    def exit_signal(self) -> str:
        return signal_name(os.WTERMSIG(self.status)) if os.WIFSIGNALED(self.status) else ""

    @property
    def exit_code(self) -> int:
        """As a shell reports it."""
        code = os.waitstatus_to_exitcode(self.status)
        return code if code >= 0 else 128 - code


def outcome_of_death(ending: Ending, *, limits: Limits) -> Outcome:
    """The outcome of a run whose process ended without recording it."""
    if ending.timed_out:
        why = limits.exceeded(killed_by="worker")
        outcome = Outcome(status=Status.TIMED_OUT, why=why, exit_code=124)
    elif ending.ran_out_of_memory:
        why = Why.of(Reason.OUT_OF_MEMORY)
        outcome = Outcome(status=Status.FAILED, why=why, exit_code=OUT_OF_MEMORY_EXIT_CODE)
    elif ending.exit_signal:
        why = Why.of(Reason.SIGNAL, signal=ending.exit_signal)
        outcome = Outcome(status=Status.FAILED, why=why, exit_code=ending.exit_code)
    else:
        outcome = outcome_of_exit_code(ending.exit_code)
    return replace(outcome, exit_signal=ending.exit_signal, usage=ending.usage)


def record_death(
    run: Run,
    ending: Ending,
    limits: Limits,
    left: list[Leftover],
    *,
    within_seconds: float,
) -> None:
    """Save the rest of the run's output, and record how it ended unless it has recorded that itself.

    ``left`` is what the process has left behind.
    """
    salvaged = salvage.salvaged(run.pk)
    handed_over = handover.received(salvaged.outcome) if salvaged is not None else None
    outcome = outcome_of_death(ending, limits=limits)

    def write() -> None:
        with ledger_connection():
            if salvaged is not None:
                OutputLog(run, salvaged.recorder).save_remaining()
            leftovers.record(run, left)
            left.clear()
            for called in rescue.called_by(run.pk, ended=ending.pid):
                has_exited_too = handed_over is None and rescue.is_called_in(ending.pid, called)
                _end_called(called, replace(outcome, usage=None) if has_exited_too else None)
            attempts.end(run, handed_over or with_error(run, outcome))

    try:
        write_between_forks(write, within_seconds=within_seconds)
    except Error:
        logger.exception("The end of run %s of %s could not be recorded", run.pk, run.job)


def _end_called(run: Run, outcome: Outcome | None) -> None:
    """A job that the dead process's job has called ends with it, if nothing else is known."""
    if outcome is None:
        rescue.give_up(run, Why.of(Reason.LOST_PROCESS, worker=run.worker))
    else:
        attempts.end(run, outcome)


def with_error(run: Run, outcome: Outcome) -> Outcome:
    """As with ``sys.exit``, the last line on stderr is the error of a job that has called ``os._exit``."""
    if outcome.why.reason is not Reason.EXIT_CODE:
        return outcome
    line = last_saved_line(run, Stream.STDERR)
    return replace(outcome, error=secrets.without_secrets(run.job, run.options, line))


def nothing() -> None:
    """For what has nothing else to do."""


def in_own_process(
    run_id: UUID,
    work: Callable[[], str],
    *,
    within: timedelta | None,
    beside: Callable[[], object] = nothing,
    renew: Callable[[], object] = nothing,
) -> Ending:
    """Do the work in a process of its own, and wait for it to end. Meanwhile, this one calls ``beside``.

    ``work`` must not raise. If the process has to be started afresh, ``runner`` does the same for the run,
    and ``renew`` is called as often as a heartbeat until that begins. If the process takes longer than
    ``within``, it is killed, unless it only waits for the database to record how the run has ended.
    """
    reader.end_kept()
    if is_fork_safe():
        return forked(work, within=within, beside=beside, run_id=run_id)
    return started(run_id, within=within, beside=beside, renew=renew)


def is_fork_safe() -> bool:
    """Whether this process has no other thread, including those that Python does not know of."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False


def forked(
    work: Callable[[], str],
    *,
    within: timedelta | None = None,
    beside: Callable[[], object] = nothing,
    run_id: UUID | None = None,
) -> Ending:
    """Do the work in a forked process."""
    parent = os.getpid()
    close_connections()
    with _report_pipe() as (reading, writing):
        flush_streams()
        kills_before = oom.kills()
        pid = os.fork()
        if pid == 0:
            do(work, parent=parent, report_to=writing)
        with _called_in_thread(beside):
            return _awaited(pid, reading, _Patience(within=within, run_id=run_id), kills_before)


def started(
    run_id: UUID,
    *,
    within: timedelta | None = None,
    beside: Callable[[], object] = nothing,
    renew: Callable[[], object] = nothing,
) -> Ending:
    """Have ``runner`` execute the run in a new interpreter."""
    with _report_pipe() as (reading, writing):
        mailbox, lifeline = salvage.own_descriptors(), process_group.own_descriptors()
        values = {"path": sys.path, "run_id": str(run_id), "mailbox": mailbox, "lifeline": lifeline}
        code = LAUNCH.format(**values, parent=os.getpid(), report_to=writing)
        kills_before = oom.kills()
        command, passed = [sys.executable, "-c", code], [writing, *mailbox, *lifeline]
        variables = {**os.environ, **context.as_variables(context.current())}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=passed, env=variables)
        with _called_in_thread(beside), _called_until_begun(renew, reading):
            patience = _Patience(within=within, run_id=run_id)
            ending = _awaited(process.pid, reading, patience, kills_before)
        process.returncode = ending.exit_code
        return ending


@contextmanager
def _called_in_thread(function: Callable[[], object]) -> Iterator[None]:
    """Begun only now that the process has been forked, and ended before the next one is."""
    if function is nothing:
        yield
        return
    thread = threading.Thread(target=function, name="beside an isolated run", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def _called_until_begun(function: Callable[[], object], reading: int) -> Iterator[None]:
    """Call the function as often as a heartbeat until the process reports that it has begun, or has ended."""
    over, end = os.pipe()
    poll = select.poll()
    for each in (reading, over):
        poll.register(each, select.POLLIN)

    def work() -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and not poll.poll(settings.HEARTBEAT_SECONDS * 1000):
            function()

    thread = threading.Thread(target=work, name="lease of an isolated run", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(end)
        thread.join()
        os.close(over)


def do(work: Callable[[], str], *, parent: int, report_to: int) -> NoReturn:
    """Do the work in this process, report the result, and exit."""
    exit_code = os.EX_SOFTWARE
    try:
        _end_with(parent)
        process_group.leave()
        process_tree.adopt_orphans()
        for number in EXIT_SIGNALS:
            signal.signal(number, exit_on_signal)
        # If the process crashes, this writes where it was.
        faulthandler.enable(file=STDERR, all_threads=False)
        os.write(report_to, _BEGUN)
        report = work()
        os.write(report_to, _REPORTED + report.encode())
        spans.flush()
        exit_code = 0
    except BaseException:  # noqa: BLE001 - whatever is further up the stack belongs to the worker
        traceback.print_exc()
    finally:
        flush_streams()
        os._exit(exit_code)


def flush_streams() -> None:
    """What is buffered would be written twice after a fork, and not at all by ``os._exit``."""
    for stream in sys.stdout, sys.stderr:
        with suppress(Exception):
            stream.flush()


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, even if that is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(os.EX_SOFTWARE)


@contextmanager
def _report_pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@dataclass(frozen=True, kw_only=True)
class _Patience:
    """How long to wait for a process."""

    within: timedelta | None
    """None: as long as it takes."""
    run_id: UUID | None
    """Of the run that it executes. Once its job has ended, there is no hurry."""

    def seconds_left(self, began_at: float) -> float:
        """From now; 0 if it is over."""
        left = began_at + (self.within or timedelta(0)).total_seconds() - time.monotonic()
        if left <= 0 and self.run_id is not None and salvage.has_outcome(self.run_id):
            return RECORDING_SECONDS
        return max(left, 0.0)


def _awaited(pid: int, reading: int, patience: _Patience, kills_before: int | None) -> Ending:
    has_ended = False
    try:
        has_ended = _ends(pid, patience)
    finally:
        # Also if this process is to end.
        if not has_ended:
            os.kill(pid, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
    is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return Ending(
        report=_report(reading),
        status=status,
        pid=pid,
        usage=Usage(peak_memory_bytes=used.ru_maxrss * 1024, cpu_seconds=used.ru_utime + used.ru_stime),
        timed_out=not has_ended,
        ran_out_of_memory=is_killed and _oom_kills.explains_death(kills_before=kills_before),
    )


def _ends(pid: int, patience: _Patience) -> bool:
    """Wait for the process to end, without reaping it; returns whether it did in time."""
    if patience.within is None or sys.platform != "linux":
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return True
    descriptor = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        began_at = time.monotonic()
        while left := patience.seconds_left(began_at):
            if poll.poll(min(left * 1000, _MAX_POLL_MILLISECONDS)):
                return True
        return False
    finally:
        os.close(descriptor)


def _report(reading: int) -> str | None:
    # A process that the job has left behind may keep the other end open.
    os.set_blocking(reading, False)
    try:
        said = os.read(reading, len(_BEGUN) + select.PIPE_BUF).removeprefix(_BEGUN)
    except BlockingIOError:
        return None
    return said.removeprefix(_REPORTED).decode() if said.startswith(_REPORTED) else None
