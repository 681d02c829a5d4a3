"""A process group of its own for each process that executes jobs.

``kill 0`` in a shell script signals the script's process group: if that were the worker's, it would end the
worker. But a supervisor that kills a worker's group expects to reach its jobs as well, and a worker that is
killed cannot end them itself. So a group of its own is tied to a *lifeline*: a pipe whose writing end only
the worker's main process has. When that process ends, however it does, the kernel sends SIGKILL to the group
(``O_ASYNC``, with SIGKILL instead of SIGIO), even if its processes are stuck or stopped.

The leader of the group has ended, since a leader could not make a session of its own, as some jobs do. To a
terminal, the group is in the background. The terminal does not stop it for that, because a worker's child has
detached from it (``terminal``). This needs Linux; elsewhere, everything stays in the worker's group.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import F_GETFL, F_SETFL, F_SETOWN, fcntl

from celery.signals import beat_embedded_init, worker_init, worker_process_init

from jobledger.escapes import line_logger

logger = line_logger(__name__)

if sys.platform == "linux":
    from fcntl import F_SETSIG


@dataclass(kw_only=True)
class Lifeline:
    """The pipe, as far as this process has it."""

    _reading: int | None = None
    _writing: int | None = None

    def open(self, **kwargs: object) -> None:
        """In a worker's main process, before it forks."""
        if sys.platform == "linux":
            self._reading, self._writing = os.pipe()

    def let_go(self, **kwargs: object) -> None:
        """In a process that the main process has forked: do not hold its end of the pipe."""
        if self._writing is not None:
            os.close(self._writing)
            self._writing = None

    def own_descriptors(self) -> list[int]:
        """To be handed to a process that this one starts for a run."""
        return [] if self._reading is None else [self._reading]

    def adopt(self, descriptors: list[int]) -> None:
        """In such a process: use the lifeline that was handed to it."""
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - positional only
            self._reading = descriptor

    def leave(self, **kwargs: object) -> None:
        """Move this process to a new group that ends with the main process; outside a worker, do nothing."""
        self.let_go()
        if self._reading is None:
            return
        try:
            with _empty_group() as group:
                self._tie(-group)
                # Also if a job makes it leave the group.
                self._tie(os.getpid())
                os.setpgid(0, group)
        except OSError as error:
            logger.warning("A job that signals its process group would reach the whole worker: %s", error)

    def _tie(self, owner: int) -> None:
        """End the process, or the group if negative, when the pipe is closed."""
        # The owner is a property of the open file, which forks share.
        tied = os.open(f"/proc/self/fd/{self._reading}", os.O_RDONLY | os.O_NONBLOCK)
        fcntl(tied, F_SETOWN, owner)
        fcntl(tied, F_SETSIG, signal.SIGKILL)
        fcntl(tied, F_SETFL, fcntl(tied, F_GETFL) | os.O_ASYNC)
        if _is_closed(tied):
            os.kill(os.getpid(), signal.SIGKILL)


_lifeline = Lifeline()
leave, own_descriptors, adopt = _lifeline.leave, _lifeline.own_descriptors, _lifeline.adopt


def connect() -> None:
    """From now on, each child of a worker has a process group of its own."""
    worker_init.connect(_lifeline.open, dispatch_uid="jobledger.process_group.main")
    worker_process_init.connect(_lifeline.leave, dispatch_uid="jobledger.process_group.child")
    beat_embedded_init.connect(_lifeline.let_go, dispatch_uid="jobledger.process_group.beat")


@contextmanager
def _empty_group() -> Iterator[int]:
    """A process group to be joined in the block, or else it is gone afterwards."""
    leader = os.fork()
    if leader == 0:
        try:
            os.setpgid(0, 0)
        finally:
            os._exit(0)
    try:
        # As long as it is not reaped, its group is there.
        os.waitid(os.P_PID, leader, os.WEXITED | os.WNOWAIT)
        yield leader
    finally:
        os.waitpid(leader, 0)


def _is_closed(pipe: int) -> bool:
    try:
        return not os.read(pipe, 1)
    except BlockingIOError:
        return False
