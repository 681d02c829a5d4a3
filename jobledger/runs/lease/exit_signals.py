"""Ends a job when its process receives a signal: ``finally`` blocks run, and the run records the signal.

A worker's children have handlers of Celery's pool for these signals, which exit with a code that is none of a
shell's, and one that raises Celery's exception for a soft time limit, which jobs do not have. They exit at
once, also while the end of a run is being recorded.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from jobledger.runs.outcome import SignalExit
from jobledger.runs.processes import billiard_internals
from jobledger.runs.processes.os_internals import handler_of, set_handler

EXIT_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
_deferred: list[int] = []


@contextmanager
def defer_exit_signals() -> Iterator[None]:
    """In the block, these signals end jobs only; a worker's child is replaced after the block."""
    try:
        with _handled(_defer):
            yield
    finally:
        _deferred.clear()


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """In the block, raise ``SignalExit`` at these signals, except at those that the process ignores.

    One that was deferred is raised at once.
    """
    with _handled(exit_on_signal):
        if _deferred:
            raise SignalExit(_deferred.pop())
        yield


def is_exit_deferred() -> bool:
    """Whether a signal has arrived that has ended no job: its sender waits for this process to exit."""
    return bool(_deferred)


@contextmanager
def sigint_not_ignored() -> Iterator[None]:
    """In the block, SIGINT ends the job and its subprocesses, as on the command line.

    Celery's children ignore it, and their subprocesses would inherit that, because Ctrl-C in a terminal
    reaches a whole process group. A child in a group of its own is not reached.
    """
    if not _ignores_sigint() or os.getpgrp() == os.getpgid(os.getppid()):
        yield
        return
    set_handler(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        if handler_of(signal.SIGINT) is signal.default_int_handler:
            set_handler(signal.SIGINT, int(signal.SIG_IGN))


def _ignores_sigint() -> bool:
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and handler_of(signal.SIGINT) == signal.SIG_IGN


@contextmanager
def _handled(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler_of(number) for number in EXIT_SIGNALS}
    replaced = {
        number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)
    }
    for number in replaced:
        set_handler(number, handle)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            if handler_of(number) is handle:
                set_handler(number, handler)


def _defer(signum: int, frame: FrameType | None) -> None:
    # The pool takes any later death of a child that it has signalled for the intended one.
    billiard_internals.exit_after_this_task()
    _deferred.append(signum)


def exit_on_signal(signum: int, frame: FrameType | None) -> None:
    """Raise the exception; a worker's child is also replaced after its task, as the sender expects."""
    _defer(signum, frame)
    raise SignalExit(_deferred.pop())
