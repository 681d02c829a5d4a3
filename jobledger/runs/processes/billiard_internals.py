"""The private parts of billiard, Celery's pool of processes, that this package uses. No other module does.

A comment on each use says what the public API lacks. Tests fail if a billiard release changes any of them.
"""

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from billiard.process import current_process
from billiard.util import LOGGER_NAME  # type: ignore[attr-defined]  # not in the stubs

__all__ = ["EX_RECYCLE", "BusyChildren", "exit_after_this_task", "results_pipe"]

EX_RECYCLE = 0x9B
"""``billiard.pool``'s, which is not imported for it: beat and commands need no pool."""


def exit_after_this_task() -> None:
    """Have this child exit once it has reported its task; the pool replaces it. Elsewhere, do nothing.

    A child exits in an orderly way if it can receive nothing more. Whatever the main process has sent to it
    in the meantime is sent to another child.
    """
    child: Any = current_process()
    if hasattr(child, "inq"):
        child.inq._reader.close()  # noqa: SLF001 - it only exits by itself after a fixed number of tasks
        loop = child._target  # noqa: SLF001 - nothing public leads to what the child executes
        loop._do_exit = partial(_exit_as_planned, loop._do_exit)  # noqa: SLF001 - else logged as an error


def _exit_as_planned(exit_: Callable[..., None], pid: int, exitcode: int | None, exc: object = None) -> None:
    exit_(pid, EX_RECYCLE, exc)


def results_pipe() -> tuple[int, int] | None:
    """Identifies the pipe by which this child reports results; None elsewhere, or if it was closed."""
    child: Any = current_process()
    try:
        found = os.fstat(child.outq._writer.fileno())  # noqa: SLF001 - it has no public attribute
    except (AttributeError, OSError):
        return None
    return found.st_dev, found.st_ino


class BusyChildren(logging.Filter):
    """The children that execute jobs, for a worker's main process.

    The pool logs the death of any child. For these, the line about the end of the run says the same and more.
    """

    _DEATH = "Process %r pid:%r exited with %r"  # nothing public tells its lines apart

    def __init__(self) -> None:
        super().__init__()
        self._pids = set[object]()

    def begin(self) -> None:
        """From now on, drop the pool's lines about them."""
        logging.getLogger(LOGGER_NAME).addFilter(self)

    def add(self, pid: object) -> None:
        self._pids.add(pid)

    def discard(self, pid: object) -> None:
        """It has returned a result, or its death was logged."""
        self._pids.discard(pid)

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg != self._DEATH or not isinstance(record.args, tuple):
            return True
        return record.args[1] not in self._pids
