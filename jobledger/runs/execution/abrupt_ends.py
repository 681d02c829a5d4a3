"""Records runs whose process ends at once on the command line: by ``os._exit``, or by a signal.

Neither runs ``finally`` blocks, with this service as without it. So the end is recorded before it happens, by
another thread, since this one may be anywhere, such as in the middle of a query. If that takes too long, the
process ends nevertheless, and the run is lost once its lease ends, as after SIGKILL.

A ``JobCommand`` differs in one thing: at a signal, its ``finally`` blocks do run.
"""

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import NoReturn

from django.db import Error, connection, connections

from jobledger.escapes import line_logger
from jobledger.runs.outcome import SignalExit
from jobledger.runs.output.recorder import LOCK
from jobledger.runs.output.run_log import by_service
from jobledger.runs.processes.forks import write_between_forks

logger = line_logger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""Those of a supervisor, and of a terminal that is closed."""
RECORD_SECONDS = 5.0

Record = Callable[[SystemExit], None]
"""Records the end of a run by this exit."""
End = Callable[[int], object]
"""Ends the process at this signal."""


@dataclass(kw_only=True)
class _Process:
    """A process that was started for a command, with the runs that it executes."""

    end: End
    pid: int
    records: list[Record] = field(default_factory=list)
    """Of jobs that are running, the outermost first."""
    is_busy: bool = False
    """Whether a run is being created or its end recorded, which must not be interrupted."""
    deferred: int = 0
    """The signal that has arrived meanwhile."""


_process: _Process | None = None


@contextmanager
def handled(end: End) -> Iterator[None]:
    """In the block, call ``end`` at a signal, and record runs before ``os._exit``.

    A process that was told to ignore a signal, as by ``nohup``, continues to do so. In any thread but the
    main one, such as an autoreloader's, the block is only executed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    global _process  # noqa: PLW0603 - like signal handlers, there is one for the process
    outer, _process = _process, _Process(end=end, pid=os.getpid())
    replaced = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
    for number in replaced:
        signal.signal(number, _handle)
    try:
        with _recorded_exits():
            yield
            handle_deferred()
    finally:
        for number in replaced:
            if signal.getsignal(number) is _handle:
                signal.signal(number, signal.SIG_DFL)
        _process = outer


@contextmanager
def undivided() -> Iterator[None]:
    """The block creates, executes and records a run. Only while its job is running does a signal not wait."""
    if (process := _process) is None:
        yield
        return
    before, process.is_busy = process.is_busy, True
    try:
        yield
    finally:
        process.is_busy = before
        # A job that has called this one goes on.
        if process.records:
            handle_deferred()


@contextmanager
def running(record: Record, *, by_other_thread: bool) -> Iterator[None]:
    """In the block, a job is running; if the process ends at once, ``record`` is called before.

    Other threads may be unable to: they cannot see a transaction that the run was created in.
    """
    if (process := _process) is None:
        yield
        return
    each = partial(_by_other_thread, record) if by_other_thread else record
    process.records.append(each)
    process.is_busy = False
    try:
        handle_deferred()
        yield
    finally:
        process.is_busy = True
        process.records = [other for other in process.records if other is not each]


def handle_deferred() -> None:
    """Handle a signal that has waited."""
    if _process is not None and _process.deferred:
        _process.end(_process.deferred)


def record_and_die(number: int) -> NoReturn:
    """Record the runs, and end by the signal, as if it had no handler."""
    try:
        _record(SignalExit(number))
    finally:
        die(number)


def raise_exit(number: int) -> NoReturn:
    """End by an exception, so that ``finally`` blocks run; the run is recorded like that of any exception."""
    raise SignalExit(number)


def die(number: int) -> NoReturn:
    """End by the signal."""
    signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    signal.raise_signal(number)
    # The first process of a container survives any signal that it does not handle.
    os._exit(128 + number)


def _handle(number: int, frame: FrameType | None) -> None:
    process = _process
    if process is None or process.pid != os.getpid():  # forked by the job
        die(number)
    if process.is_busy and not process.deferred:
        process.deferred = number
    else:
        process.end(number)


@contextmanager
def _recorded_exits() -> Iterator[None]:
    """Python has no hook for ``os._exit``, so it is replaced; whoever has imported it keeps the original."""
    exit_at_once = os._exit

    def record_and_exit(status: int) -> NoReturn:
        try:
            if isinstance(status, int):
                _record(SystemExit(status))
        finally:
            exit_at_once(status)

    os._exit = record_and_exit
    try:
        yield
    finally:
        # Unless the job has replaced it as well.
        if os._exit is record_and_exit:
            os._exit = exit_at_once


def _record(end: SystemExit) -> None:
    """Record all runs, the innermost first. A second call does nothing."""
    if _process is None or _process.pid != os.getpid():
        return
    records, _process.records = _process.records[::-1], []
    for record in records:
        record(end)


def _by_other_thread(record: Record, end: SystemExit) -> None:
    """Wait for some seconds. Whatever this thread was doing, it will not go on with it."""
    with suppress(RuntimeError):
        while True:
            LOCK.release()
    _roll_back_sqlite()
    has_ended = _thread.allocate_lock()
    has_ended.acquire()

    def work() -> None:
        try:
            with by_service():
                record(end)
        except Error as error:
            logger.warning("The end of a run could not be recorded: %s", error)
        finally:
            has_ended.release()

    # Not `threading`, whose own locks this thread may hold. At the exit of the interpreter, no thread starts.
    with suppress(RuntimeError):
        _thread.start_new_thread(work, ())
        has_ended.acquire(timeout=RECORD_SECONDS)


def write(record: Callable[[], None]) -> None:
    """Write to the database, retrying for some seconds. Raises Error if the time is up."""
    if connection.in_atomic_block:  # in a test
        record()
    else:
        write_between_forks(record, within_seconds=RECORD_SECONDS)


def _roll_back_sqlite() -> None:
    """The end of the process would do so: until then, nobody else can write."""
    for each in connections.all(initialized_only=True):
        if each.vendor == "sqlite" and each.connection is not None:
            with suppress(Exception):
                each.connection.rollback()
