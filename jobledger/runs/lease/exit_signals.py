"""Ends a job when its process receives a signal: ``finally`` blocks run, and the run records the signal.

A worker's children have handlers of Celery's pool for these signals, which exit with a code that is none of a
shell's, and one that raises Celery's exception for a soft time limit, which jobs do not have.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jobledger.runs.outcome import SignalExit
from jobledger.runs.worker import billiard_internals

EXIT_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """In the block, raise ``SignalExit`` at these signals, except at those that the process ignores."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in EXIT_SIGNALS}
    replaced = {
        number: handler for number, handler in before.items() if handler not in (None, signal.SIG_IGN)
    }
    for number in replaced:
        signal.signal(number, exit_on_signal)
    try:
        yield
    finally:
        for number, handler in replaced.items():
            if signal.getsignal(number) is exit_on_signal:
                signal.signal(number, handler)


def exit_on_signal(signum: int, frame: FrameType | None) -> None:
    """Raise the exception; a worker's child is also replaced after its task, as the sender expects."""
    # The pool takes any later death of a child that it has signalled for the intended one.
    billiard_internals.exit_after_this_task()
    raise SignalExit(signum)
